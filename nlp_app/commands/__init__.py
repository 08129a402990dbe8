"""The work of each command, without parsing and printing. Each module serves both tasks."""
