"""Readers of texts with classes: CSV and TSV, JSON, lines with labels, plain lines, Hugging Face datasets.

All of them stream. Opening a file determines how it is read; then one record is in memory at a time, except for a JSON
file that is one document.
"""

from __future__ import annotations

from nlp_app.formats.classification.options import CLASS_FORMATS, ClassReadOptions
from nlp_app.formats.classification.read_plan import ReadRepair
from nlp_app.formats.classification.reader import ClassFile, ClassStream, open_classes, read_class_lines

__all__ = [
    "CLASS_FORMATS",
    "ClassFile",
    "ClassReadOptions",
    "ClassStream",
    "ReadRepair",
    "open_classes",
    "read_class_lines",
]
