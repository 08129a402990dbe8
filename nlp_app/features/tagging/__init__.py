"""Word shapes, context features and the encoder of sentences for taggers."""
