"""Evaluation scores of predictions: entities, tags and classes."""

from __future__ import annotations

from nlp_app.metrics.classes import multi_label_scores, single_label_scores
from nlp_app.metrics.counts import TagCounts
from nlp_app.metrics.tags import entity_scores, label_scores, tag_scores

__all__ = ["TagCounts", "entity_scores", "label_scores", "multi_label_scores", "single_label_scores", "tag_scores"]
