"""Networks. They know no words, tags or settings: only arrays, masks and targets."""

from __future__ import annotations

from nlp_app.nn.crf.layer import LinearChainCRF

__all__ = ["LinearChainCRF"]
