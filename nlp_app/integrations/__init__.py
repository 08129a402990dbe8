"""Models in other systems, each an extra: nothing is imported here."""

from __future__ import annotations
