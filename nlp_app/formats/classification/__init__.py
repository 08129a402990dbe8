"""Readers of texts and their classes: CSV and TSV, JSON, lines with labels, plain lines, data sets of the Hub.

Each streams: what a file is read as is settled when it is opened, and one record is in memory at a time, except for
JSON that is one document.
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
