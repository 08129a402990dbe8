"""Reports: tables for the terminal, model cards and plots."""
