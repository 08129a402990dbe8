"""The directory of a run: lock, record, checkpoints, progress, files left behind."""
