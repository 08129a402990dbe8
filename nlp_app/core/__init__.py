"""Errors, value types and small utilities that every layer may use."""
