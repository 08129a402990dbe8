"""Format the summary that `convert` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from nlp_app.core.text_table import display_width, printable
from nlp_app.data.classification.convert import ClassConversionReport
from nlp_app.data.tagging.alignment import AlignmentReport
from nlp_app.data.tagging.convert import ConversionReport
from nlp_app.data.tagging.corpus import TagRepair

_MAX_LISTED = 5  # repairs and changed spans that are listed with their lines

_MAX_WIDTH = 60  # columns of a text from a file


def _repair_facts(repairs: Sequence[TagRepair]) -> dict[str, Any]:
    return {
        "count": len(repairs),
        "reasons": dict(Counter(repair.reason for repair in repairs).most_common()),
        "first": [repair._asdict() for repair in repairs[:_MAX_LISTED]],
    }


def _alignment_facts(ledger: AlignmentReport) -> dict[str, Any]:
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
            for entry in ledger.entries[:_MAX_LISTED]
        ],
    }


def conversion_text(report: ConversionReport) -> str:
    """Format the report on a conversion.

    Args:
        report: The report.

    Returns:
        One line on source and target, one line for each remark and each loss, and the first repaired tags and changed
        spans.
    """
    source = " ".join(filter(None, (report.source_format, report.source_scheme)))
    target = " ".join(filter(None, (report.target_format, report.target_scheme)))
    size = f"{report.records:,} records, {report.spans:,} spans"
    lines = [f"{report.source} ({source}) -> {report.target} ({target}): {size}"]
    lines += [f"{report.source}: {remark}" for remark in report.remarks]
    lines += [f"lost: {loss}" for loss in report.losses] or ["lost: nothing"]
    return "\n".join(
        [*lines, *_change_lines(report.source, _repair_facts(report.repairs), _alignment_facts(report.ledger))]
    )


def class_conversion_text(report: ClassConversionReport) -> str:
    """Format the report on a conversion of texts with classes.

    Args:
        report: The report.

    Returns:
        One line on source and target, and one line for each remark and each loss.
    """
    source, target = f"{report.source} ({report.source_format})", f"{report.target} ({report.target_format})"
    lines = [f"{source} -> {target}: {report.texts:,} texts"]
    lines += [f"{report.source}: {remark}" for remark in report.remarks]
    return "\n".join([*lines, *([f"lost: {loss}" for loss in report.losses] or ["lost: nothing"])])


def _change_lines(name: str, repairs: Mapping[str, Any], ledger: Mapping[str, Any]) -> list[str]:
    """Format the first repaired tags and the first adjusted or dropped spans, one line each."""
    lines = [f"{name}:{repair['line']}: {_truncate(repair['reason'])}" for repair in repairs["first"]]
    for entry in ledger["first"]:
        start, end, label = entry["span"]
        outcome = "dropped" if entry["aligned"] is None else "adjusted"
        lines.append(f"{name}:{entry['line']}: {_truncate(label)} {start}-{end} {outcome}: {entry['reason']}")
    return lines


def _truncate(text: str) -> str:
    """Truncate a text to `_MAX_WIDTH` columns, with an ellipsis, and escape characters that can't be shown."""
    shown = printable(text[:_MAX_WIDTH])
    if len(text) <= _MAX_WIDTH and display_width(shown) <= _MAX_WIDTH:
        return shown
    while display_width(shown) >= _MAX_WIDTH:
        shown = shown[:-1]
    return shown + "…"
