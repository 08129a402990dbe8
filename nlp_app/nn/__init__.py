"""Neural networks. Inputs are index tensors, masks and targets; words, tags and settings are handled elsewhere."""

from __future__ import annotations

from nlp_app.nn.crf.layer import LinearChainCRF

__all__ = ["LinearChainCRF"]
