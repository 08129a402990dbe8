"""Inspect data files before training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nlp_app.config import ClassificationDataSettings, TaggingDataSettings, TaggingSettings, change_settings
from nlp_app.data.classification.options import label_remarks, read_options
from nlp_app.data.classification.scan import FileScan, scan_file
from nlp_app.data.tagging.corpus import read_corpus
from nlp_app.data.tagging.splits import corpus_options
from nlp_app.formats.classification import ClassFile, open_classes
from nlp_app.reports.tagging_inspection import inspect_corpora


def inspect_classes(paths: Sequence[str], settings: ClassificationDataSettings) -> dict[str, Any]:
    """The facts of each file of texts and classes, and what each shares with those before it."""
    options = read_options(settings)
    found: list[tuple[ClassFile, FileScan]] = []
    for path in paths:
        file = open_classes(path, options)
        found.append((file, scan_file(file)))
        if len(found) == 1:
            options = replace(file.options, encoding=options.encoding, format=options.format)
    hashes = [np.unique(each.hashes) for _, each in found]
    return {
        "task": "cls",
        "files": [_facts(file, each) for file, each in found],
        "leaks": [
            {"train": found[a][1].path, "file": found[b][1].path, "count": found[b][1].shared(hashes[a])}
            for b in range(len(found))
            for a in range(b)
        ],
        "unknown": [
            {
                "train": found[0][1].path,
                "file": each.path,
                "labels": sorted(each.labels.keys() - found[0][1].labels.keys()),
            }
            for _, each in found[1:]
        ],
    }


def _facts(file: ClassFile, found: FileScan) -> dict[str, Any]:
    return {
        "path": found.path,
        "format": file.format,
        "remarks": [*file.remarks, *label_remarks(file, found.labels)],
        "repairs": [{"what": each.what, "count": each.count, "line": each.line} for each in file.repairs],
        "texts": found.texts,
        "unlabelled": found.unlabeled[0],
        "empty": found.empty[0],
        "multi_label": found.several_at > 0,
        "labels": dict(found.labels.most_common()),
        "labels_per_text": {str(count): texts for count, texts in sorted(found.counts.items())},
        "characters": found.length_figures(),
        "duplicates": found.duplicates,
        "contradictions": found.contradictions,
    }


def inspect_files(paths: Sequence[Path], format: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """The facts of each file, and what they share."""
    settings = _data_settings(format, changes)
    corpora = [read_corpus(path, corpus_options(settings)) for path in paths]
    return inspect_corpora(corpora[0], corpora[1:])


def _data_settings(format: str | None, changes: Sequence[str]) -> TaggingDataSettings:
    return change_settings(TaggingSettings, {"data": {"format": format or "auto"}}, changes, only="data").data
