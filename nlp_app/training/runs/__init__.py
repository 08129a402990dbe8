"""Run directory: lock, run record, checkpoints, progress and output files."""
