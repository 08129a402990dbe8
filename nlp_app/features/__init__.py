"""From tokens to integer columns, and from columns to batches. No torch."""
