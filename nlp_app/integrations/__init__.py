"""Integrations with other systems, each an optional extra. Nothing is imported here."""

from __future__ import annotations
