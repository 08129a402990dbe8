"""The summary that `convert` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.text_table import _printable, display_width
from nlp_app.data.tagging.alignment import AlignmentReport
from nlp_app.data.tagging.convert import ConversionReport
from nlp_app.data.tagging.corpus import TagRepair

_NAMED = 5  # repairs and spans that are named by their lines

_WIDEST = 60  # columns of a text from a file


def _repairs(repairs: Sequence[TagRepair]) -> dict[str, Any]:
    return {
        "count": len(repairs),
        "reasons": dict(Counter(repair.reason for repair in repairs).most_common()),
        "first": [repair._asdict() for repair in repairs[:_NAMED]],
    }


def _ledger(ledger: AlignmentReport) -> dict[str, Any]:
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


def conversion_text(report: ConversionReport) -> str:
    """What `convert` tells: a line on what was written, one for each thing lost, and its first places."""
    source = " ".join(filter(None, (report.source_format, report.source_scheme)))
    target = " ".join(filter(None, (report.target_format, report.target_scheme)))
    size = f"{report.records:,} records, {report.spans:,} spans"
    lines = [f"{report.source} ({source}) -> {report.target} ({target}): {size}"]
    lines += [f"{report.source}: {remark}" for remark in report.remarks]
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


def _shown(text: str) -> str:
    """The text in at most _WIDEST columns of one line, an ellipsis for the rest."""
    printable = _printable(text[:_WIDEST])
    if len(text) <= _WIDEST and display_width(printable) <= _WIDEST:
        return printable
    while display_width(printable) >= _WIDEST:
        printable = printable[:-1]
    return printable + "…"
