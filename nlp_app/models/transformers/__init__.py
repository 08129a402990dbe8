"""Models on pretrained transformers."""
