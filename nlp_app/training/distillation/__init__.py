"""Train small networks from a fine-tuned transformer."""
