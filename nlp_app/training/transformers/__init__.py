"""Fine-tune pretrained transformers for both tasks."""
