"""Models in other systems, each an extra: nothing is imported here."""
