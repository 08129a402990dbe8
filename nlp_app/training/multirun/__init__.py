"""Work made of several runs: cross-validation, search, reproduction."""
