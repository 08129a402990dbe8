"""The networks of `nlp_app.nn`, computed by NumPy alone: quick to start, and quick for single texts. No training."""
