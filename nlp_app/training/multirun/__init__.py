"""Tasks of several runs: cross-validation, search for settings, reproduction of a run."""
