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
from nlp_app.data.tagging.tokenizer_choice import refit_tokenizer
from nlp_app.formats.classification import ClassFile, open_classes
from nlp_app.reports.tagging_inspection import inspect_corpora


def inspect_classes(paths: Sequence[str], settings: ClassificationDataSettings) -> dict[str, Any]:
    """Inspect files of labeled texts.

    The columns and other reading options that are detected in the first file are used for all files.

    Args:
        paths: The files, first the training file.
        settings: Settings for reading the files.

    Returns:
        The facts for a report, in a form that can be saved as JSON: for each file its format, labels, counts, lengths,
        duplicates and repairs; for each pair of files the number of shared texts; and the labels that the first file
        doesn't have.

    Raises:
        DataError: A file can't be read.
    """
    options = read_options(settings)
    scanned: list[tuple[ClassFile, FileScan]] = []
    for path in paths:
        file = open_classes(path, options)
        scanned.append((file, scan_file(file)))
        if len(scanned) == 1:
            options = replace(file.options, encoding=options.encoding, format=options.format)
    scans = [scan for _, scan in scanned]
    hashes = [np.unique(scan.hashes) for scan in scans]
    return {
        "task": "cls",
        "files": [_facts(file, scan) for file, scan in scanned],
        "leaks": [
            {"train": scans[a].path, "file": scans[b].path, "count": scans[b].shared(hashes[a])}
            for b in range(len(scans))
            for a in range(b)
        ],
        "unknown": [
            {
                "train": scans[0].path,
                "file": scan.path,
                "labels": sorted(scan.labels.keys() - scans[0].labels.keys()),
            }
            for scan in scans[1:]
        ],
    }


def _facts(file: ClassFile, scan: FileScan) -> dict[str, Any]:
    return {
        "path": scan.path,
        "format": file.format,
        "remarks": [*file.remarks, *label_remarks(file, scan.labels)],
        "repairs": [{"what": each.what, "count": each.count, "line": each.line} for each in file.repairs],
        "texts": scan.texts,
        "unlabelled": scan.unlabeled[0],
        "empty": scan.empty[0],
        "multi_label": scan.several_at > 0,
        "labels": dict(scan.labels.most_common()),
        "labels_per_text": {str(count): texts for count, texts in sorted(scan.counts.items())},
        "characters": scan.length_figures(),
        "duplicates": scan.duplicates,
        "contradictions": scan.contradictions,
    }


def inspect_files(paths: Sequence[Path], format: str | None, changes: Sequence[str]) -> dict[str, Any]:
    """Inspect files of tokens with tags, or texts with spans.

    Args:
        paths: The files, first the training file.
        format: The format of the files; None to detect it.
        changes: Changes of the [data] settings, as `data.key=value`.

    Returns:
        The facts for a report, in a form that can be saved as JSON.

    Raises:
        DataError: A file can't be read.
        OtherTaskError: A file contains labeled texts without tags or spans.
        SettingsError: A change is invalid.
    """
    settings = _data_settings(format, changes)
    options = corpus_options(settings)
    first = read_corpus(paths[0], options)
    better, remark = refit_tokenizer(first, options, settings.tokenizer)
    if better is not None:
        options = replace(options, tokenizer=better)
        first = read_corpus(paths[0], options)
    first.remarks += [remark] if remark else []
    return inspect_corpora(first, [read_corpus(path, options) for path in paths[1:]])


def _data_settings(format: str | None, changes: Sequence[str]) -> TaggingDataSettings:
    return change_settings(TaggingSettings, {"data": {"format": format or "auto"}}, changes, only="data").data
