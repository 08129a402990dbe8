"""From tokens to integer columns, and from columns to batches. No torch."""

from __future__ import annotations
