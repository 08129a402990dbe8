"""Labels, tag schemes and their transitions."""

from __future__ import annotations

from nlp_app.labels.class_set import ClassSet
from nlp_app.labels.scheme_detection import DetectedScheme, detect_scheme
from nlp_app.labels.schemes import SCHEMES, decode, encode, tag_names
from nlp_app.labels.tag_set import TagSet
from nlp_app.labels.transitions import allowed_transitions

__all__ = [
    "SCHEMES",
    "ClassSet",
    "DetectedScheme",
    "TagSet",
    "allowed_transitions",
    "decode",
    "detect_scheme",
    "encode",
    "tag_names",
]
