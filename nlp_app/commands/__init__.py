"""The work of each command, apart from parsing and printing. One file serves both tasks."""
