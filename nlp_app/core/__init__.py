"""Errors, value types and small services that every layer may use."""
