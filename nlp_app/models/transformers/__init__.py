"""Trained models on pretrained transformers."""
