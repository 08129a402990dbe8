"""Inspect sequence labeling corpora: facts as JSON values, and their output as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nlp_app.core.text_table import format_table, printable
from nlp_app.data.tagging.corpus import Corpus
from nlp_app.data.tagging.statistics import compute_statistics, count_unseen_entities, find_shared_sentences
from nlp_app.data.tagging.tokenizer_choice import choose_tokenizer
from nlp_app.labels.schemes import NONE
from nlp_app.reports.conversion import _alignment_facts, _change_lines, _repair_facts, _truncate


def inspect_corpora(corpus: Corpus, others: Sequence[Corpus] = ()) -> dict[str, Any]:
    """Collect facts about corpora and about the overlap of each pair.

    Args:
        corpus: The first corpus, usually the training corpus.
        others: Other corpora.

    Returns:
        Values of JSON's types: `files` (facts about each corpus, in order), `leaks` (for each pair, the sentences of
        `file` that also occur in the earlier corpus `train`), and `unseen` (for each pair, the entities of `file` that
        do not occur in `train`).
    """
    corpora = [corpus, *others]
    pairs = [(a, b) for index, b in enumerate(corpora) for a in corpora[:index]]
    return {
        "files": [_facts(each) for each in corpora],
        "leaks": [
            {"train": a.path, "file": b.path, **asdict(find_shared_sentences(a.sentences, b.sentences))}
            for a, b in pairs
        ],
        "unseen": [
            {"train": a.path, "file": b.path, **asdict(entities), "share": entities.share}
            for a, b in pairs
            if (entities := count_unseen_entities(a.sentences, b.sentences)).entities and a.labeled
        ],
    }


def _facts(corpus: Corpus) -> dict[str, Any]:
    agreement = choose_tokenizer(corpus.sentences)[1] if corpus.tokenizer is None else None
    return {
        "path": corpus.path,
        "format": corpus.format,
        "remarks": list(corpus.remarks),
        "scheme": corpus.scheme,
        "evidence": corpus.evidence,
        "labelled": corpus.labeled,
        "tokenizer": corpus.tokenizer,
        **asdict(compute_statistics(corpus.sentences)),
        "repairs": _repair_facts(corpus.repairs),
        "ledger": _alignment_facts(corpus.ledger),
        "agreement": agreement,
    }


def inspection_table(facts: Mapping[str, Any]) -> str:
    """Format the facts about corpora.

    Args:
        facts: The result of `inspect_corpora`.

    Returns:
        A table with one row for each fact and one column for each file, followed by lines in the files that are worth
        a look.
    """
    files = facts["files"]
    names = _short_names([file["path"] for file in files])
    rows = [["", *(names[file["path"]] for file in files)]]
    rows += [[title, *(show(file) for file in files)] for title, show in _ROWS]
    rows += _agreement_rows(files)
    rows += _pair_rows(facts, files)
    rows += _label_rows(files)
    return "\n".join([*format_table(rows), *_findings(facts, names)])


def _lengths(file: Mapping[str, Any]) -> str:
    lengths = file["lengths"]
    if lengths is None:
        return "-"
    return f"{lengths['min']}/{lengths['median']:g}/{lengths['mean']:.1f}/{lengths['p95']}/{lengths['max']}"


def _longest(file: Mapping[str, Any]) -> str:
    entity = file["longest_entity"]
    return f"{entity['tokens']} tokens" if entity and file["scheme"] != NONE else "-"


def _alignment_counts(file: Mapping[str, Any]) -> str:
    ledger = file["ledger"]
    return "/".join(f"{ledger[name]:,}" for name in ("gold", "kept", "adjusted", "dropped"))


_ROWS = (
    ("format", lambda file: file["format"]),
    ("tag scheme", lambda file: file["scheme"] or "-"),
    ("sentences", lambda file: f"{file['sentences']:,}"),
    ("tokens", lambda file: f"{file['tokens']:,}"),
    ("distinct tokens", lambda file: f"{file['vocabulary']:,}"),
    ("length min/median/mean/95%/max", _lengths),
    ("duplicate sentences", lambda file: f"{file['duplicates']['count']:,}"),
    ("longest entity", _longest),
    ("repaired tags", lambda file: f"{file['repairs']['count']:,}"),
    ("gold/kept/adjusted/dropped", _alignment_counts),
)


def _agreement_rows(files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Format the share of tokens that each tokenizer reproduces, for pre-tokenized files."""
    agreements = [file["agreement"] or {} for file in files]
    names = dict.fromkeys(name for agreement in agreements for name in agreement)
    return [
        [
            f"agreement with tokenizer {name}",
            *(f"{100 * a[name]:.1f}%" if name in a else "-" for a in agreements),
        ]
        for name in names
    ]


def _pair_rows(facts: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """Format the overlap of each file with the first one; other pairs are listed below the table."""
    if len(files) < 2:
        return []
    first = files[0]["path"]
    leaked = {pair["file"]: f"{pair['count']:,}" for pair in facts["leaks"] if pair["train"] == first}
    unseen = {pair["file"]: f"{100 * pair['share']:.1f}%" for pair in facts["unseen"] if pair["train"] == first}
    return [
        ["sentences also in first file", "-", *(leaked[file["path"]] for file in files[1:])],
        ["entities unseen in first file", "-", *(unseen.get(file["path"], "-") for file in files[1:])],
    ]


def _label_rows(files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    totals: Counter[str] = Counter()
    for file in files:
        totals.update(file["labels"])
    rows = [["labels", *(f"{sum(file['labels'].values()):,}" for file in files)]] if totals else []
    return rows + [
        [f"  {_truncate(label)}", *(f"{file['labels'].get(label, 0):,}" for file in files)]
        for label, _ in totals.most_common()
    ]


def _findings(facts: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """Format the remarks on each file, and the lines in the files that are worth a look."""
    lines: list[str] = []
    for file in facts["files"]:
        name = names[file["path"]]
        lines += [f"{name}: {remark}" for remark in file["remarks"]]
        lines += [f"{name}:{copy}: repeats line {line}" for line, copy in file["duplicates"]["lines"]]
        lines += _change_lines(name, file["repairs"], file["ledger"])
        if file["longest_entity"] and file["scheme"] != NONE:
            entity = file["longest_entity"]
            lines.append(f"{name}:{entity['line']}: longest {_truncate(entity['label'])}: {_truncate(entity['text'])}")
    for pair in facts["leaks"]:
        train, name = names[pair["train"]], names[pair["file"]]
        if pair["count"]:
            lines.append(f"{name}: sentences that also occur in {train}: {pair['count']:,}")
        lines += [f"{name}:{copy}: same sentence as {train}:{line}" for line, copy in pair["lines"]]
    return ["", *lines] if lines else []


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """Return the display name of each file: its name, or the whole path if names are not unique."""
    names = [Path(path).name for path in paths]
    are_unique = len(set(names)) == len(set(paths))
    return {path: printable(name if are_unique else path) for path, name in zip(paths, names, strict=True)}
