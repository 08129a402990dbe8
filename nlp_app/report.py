"""What `inspect` shows: the facts of one file or several, as plain values for machines and as a table for
people."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nlp_app.alignment import Ledger
from nlp_app.convert import ConversionReport
from nlp_app.corpus import Corpus, TagRepair, choose_tokenizer
from nlp_app.schemes import NONE
from nlp_app.statistics import describe, leaks, unseen_entities

_NAMED = 5  # repairs and spans that are named by their lines
_WIDEST = 60  # columns of a text from a file


def inspection(corpus: Corpus, others: Sequence[Corpus] = ()) -> dict[str, Any]:
    """The facts of each file, and what each file shares with those before it; made of JSON's own types.

    Keys: `files` (one each, in order), `leaks` and `unseen` (for each pair, `file` against an earlier
    `train`).
    """
    corpora = [corpus, *others]
    pairs = [(a, b) for place, b in enumerate(corpora) for a in corpora[:place]]
    return {
        "files": [_facts(each) for each in corpora],
        "leaks": [{"train": a.path, "file": b.path, **asdict(leaks(a.sentences, b.sentences))} for a, b in pairs],
        "unseen": [
            {"train": a.path, "file": b.path, **asdict(found), "share": found.share}
            for a, b in pairs
            if (found := unseen_entities(a.sentences, b.sentences)).entities and a.labelled
        ],
    }


def _facts(corpus: Corpus) -> dict[str, Any]:
    agreement = choose_tokenizer(corpus.sentences)[1] if corpus.tokenizer is None else None
    return {
        "path": corpus.path,
        "format": corpus.format,
        "scheme": corpus.scheme,
        "evidence": corpus.evidence,
        "labelled": corpus.labelled,
        "tokenizer": corpus.tokenizer,
        **asdict(describe(corpus.sentences)),
        "repairs": _repairs(corpus.repairs),
        "ledger": _ledger(corpus.ledger),
        "agreement": agreement,
    }


def _repairs(repairs: Sequence[TagRepair]) -> dict[str, Any]:
    return {
        "count": len(repairs),
        "reasons": dict(Counter(repair.reason for repair in repairs).most_common()),
        "first": [repair._asdict() for repair in repairs[:_NAMED]],
    }


def _ledger(ledger: Ledger) -> dict[str, Any]:
    return {
        "gold": ledger.gold,
        "kept": ledger.kept,
        "adjusted": ledger.adjusted,
        "dropped": ledger.dropped,
        "reasons": ledger.reasons(),
        "first": [
            {
                "line": entry.line,
                "span": list(entry.span),
                "aligned": None if entry.aligned is None else list(entry.aligned),
                "reason": entry.reason,
            }
            for entry in ledger.entries[:_NAMED]
        ],
    }


def inspection_table(facts: Mapping[str, Any]) -> str:
    """The table of an `inspection`: a row each fact, a column each file, then the places worth a look."""
    files = facts["files"]
    names = _short_names([file["path"] for file in files])
    rows = [["", *(names[file["path"]] for file in files)]]
    rows += [[title, *(show(file) for file in files)] for title, show in _ROWS]
    rows += _agreement_rows(files)
    rows += _pair_rows(facts, files)
    rows += _label_rows(files)
    return "\n".join([*aligned(rows), *_places(facts, names)])


def conversion_text(report: ConversionReport) -> str:
    """What `convert` tells: a line on what was written, one for each thing lost, and its first places."""
    source = " ".join(filter(None, (report.source_format, report.source_scheme)))
    target = " ".join(filter(None, (report.target_format, report.target_scheme)))
    size = f"{report.records:,} records, {report.spans:,} spans"
    lines = [f"{report.source} ({source}) -> {report.target} ({target}): {size}"]
    lines += [f"lost: {loss}" for loss in report.losses] or ["lost: nothing"]
    return "\n".join([*lines, *_changes(report.source, _repairs(report.repairs), _ledger(report.ledger))])


def _changes(name: str, repairs: Mapping[str, Any], ledger: Mapping[str, Any]) -> list[str]:
    """A line for each of the first repaired tags and of the first spans that weren't kept."""
    lines = [f"{name}:{repair['line']}: {_shown(repair['reason'])}" for repair in repairs["first"]]
    for entry in ledger["first"]:
        start, end, label = entry["span"]
        outcome = "dropped" if entry["aligned"] is None else "adjusted"
        lines.append(f"{name}:{entry['line']}: {_shown(label)} {start}-{end} {outcome}: {entry['reason']}")
    return lines


def _lengths(file: Mapping[str, Any]) -> str:
    lengths = file["lengths"]
    if lengths is None:
        return "-"
    return f"{lengths['min']}/{lengths['median']:g}/{lengths['mean']:.1f}/{lengths['p95']}/{lengths['max']}"


def _longest(file: Mapping[str, Any]) -> str:
    entity = file["longest_entity"]
    return f"{entity['tokens']} tokens" if entity and file["scheme"] != NONE else "-"


def _account(file: Mapping[str, Any]) -> str:
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
    ("gold/kept/adjusted/dropped", _account),
)


def _agreement_rows(files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """How well each tokenizer finds the tokens of files that came with their own."""
    agreements = [file["agreement"] or {} for file in files]
    names = dict.fromkeys(name for agreement in agreements for name in agreement)
    return [
        [
            f"agrees with tokenizer {name}",
            *(f"{100 * a[name]:.1f}%" if name in a else "-" for a in agreements),
        ]
        for name in names
    ]


def _pair_rows(facts: Mapping[str, Any], files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """What the files share with the first one; pairs of later files are told below the table."""
    if len(files) < 2:
        return []
    first = files[0]["path"]
    leaked = {pair["file"]: f"{pair['count']:,}" for pair in facts["leaks"] if pair["train"] == first}
    unseen = {pair["file"]: f"{100 * pair['share']:.1f}%" for pair in facts["unseen"] if pair["train"] == first}
    return [
        ["sentences also in first file", "-", *(leaked[file["path"]] for file in files[1:])],
        ["labelled forms unseen in first file", "-", *(unseen.get(file["path"], "-") for file in files[1:])],
    ]


def _label_rows(files: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    totals: Counter[str] = Counter()
    for file in files:
        totals.update(file["labels"])
    rows = [["labels", *(f"{sum(file['labels'].values()):,}" for file in files)]] if totals else []
    return rows + [
        [f"  {_shown(label)}", *(f"{file['labels'].get(label, 0):,}" for file in files)]
        for label, _ in totals.most_common()
    ]


def _places(facts: Mapping[str, Any], names: Mapping[str, str]) -> list[str]:
    """One line for each place in a file that a person may want to look at."""
    lines: list[str] = []
    for file in facts["files"]:
        name = names[file["path"]]
        lines += [f"{name}:{again}: repeats line {line}" for line, again in file["duplicates"]["lines"]]
        lines += _changes(name, file["repairs"], file["ledger"])
        if file["longest_entity"] and file["scheme"] != NONE:
            entity = file["longest_entity"]
            lines.append(f"{name}:{entity['line']}: longest {_shown(entity['label'])}: {_shown(entity['text'])}")
    for pair in facts["leaks"]:
        train, name = names[pair["train"]], names[pair["file"]]
        if pair["count"]:
            lines.append(f"{name}: {pair['count']:,} of its sentences also in {train}")
        lines += [f"{name}:{again}: also {train}:{line}" for line, again in pair["lines"]]
    return ["", *lines] if lines else []


def _short_names(paths: Sequence[str]) -> dict[str, str]:
    """File names where they tell the files apart, else whole paths."""
    names = [Path(path).name for path in paths]
    distinct = len(set(names)) == len(set(paths))
    return {path: _printable(name if distinct else path) for path, name in zip(paths, names, strict=True)}


def _printable(text: str) -> str:
    """The text with escapes for what would not show, or would do something, on a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _shown(text: str) -> str:
    """The text in at most _WIDEST columns of one line, an ellipsis for the rest."""
    printable = _printable(text[:_WIDEST])
    if len(text) <= _WIDEST and display_width(printable) <= _WIDEST:
        return printable
    while display_width(printable) >= _WIDEST:
        printable = printable[:-1]
    return printable + "…"


def display_width(text: str) -> int:
    """The columns a text takes on a terminal: two for wide characters (Unicode Standard Annex 11), none for
    marks."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns padded to their widest cell: the first to the left, the others to the right."""
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    lines = []
    for title, *cells in rows:
        padded = [title + " " * (widths[0] - display_width(title))]
        padded += [" " * (width - display_width(cell)) + cell for width, cell in zip(widths[1:], cells, strict=True)]
        lines.append("  ".join(padded).rstrip())
    return lines
