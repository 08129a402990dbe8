"""Convert a file to the format of an annotation tool, and report any loss of information."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nlp_app.core.errors import DataError
from nlp_app.core.types import AnnotatedText, Record, ScoredSpan, Sentence, TextRecord
from nlp_app.data.tagging.convert import ConversionReport
from nlp_app.data.tagging.corpus import CorpusOptions, make_corpus
from nlp_app.formats import annotated
from nlp_app.formats import tagging as formats
from nlp_app.labels.schemes import NONE
from nlp_app.text import make_tokenizer

# Formats that hold texts with spans, whatever the source holds.
TOOL_FORMATS = tuple(name for name in annotated.SPAN_FORMATS if name not in (*formats.WRITABLE, "csv"))


def export_annotations(
    source: str | Path, target: str | Path, format: str, options: CorpusOptions | None = None, lossy: bool = False
) -> ConversionReport:
    """Convert a file to texts with spans for an annotation tool.

    The target is written completely or not at all. The spans of raw texts stay as they are, also inside tokens.

    Args:
        source: The file to read.
        target: The file to write; a folder for brat.
        format: A name in `TOOL_FORMATS`.
        options: How to read the source. For formats with tokens, raw text is split by `options.tokenizer`; without one,
            by the basic tokenizer.
        lossy: Write the target although its format can't hold all annotations.

    Returns:
        A report on the conversion, with everything that was lost.

    Raises:
        DataError: The source can't be read, the target can't be written, or, without `lossy`, its format can't hold all
            annotations.
        SettingsError: A package that the format needs is not installed.
    """
    options = options or CorpusOptions()
    options = replace(options, tokenizer=options.tokenizer or make_tokenizer("basic", do_lower_case=False))
    source_format = options.format or formats.detect_format(source, encoding=options.reading.encoding)
    log = formats.ReadLog()
    records = list(formats.read(source, source_format, options.reading, log))
    corpus = make_corpus(records, source, source_format, options)
    if corpus.scheme == NONE:
        raise DataError(
            f"found a label for each token, and {format} holds labeled spans; choose conll or jsonl", source
        )
    texts = list(map(_annotate, corpus.sentences, records))
    lost = annotated.losses(texts, format)
    if lost and not lossy:
        reason = f"{format} can't hold {'; '.join(lost)}. Nothing was written"
        raise DataError(f"{reason}; choose another format, or write the rest with --lossy", target)
    annotated.write(texts, target, format)
    return ConversionReport(
        source=str(source),
        target=str(target),
        source_format=source_format,
        target_format=format,
        source_scheme=corpus.scheme,
        target_scheme=None,
        records=len(texts),
        spans=sum(len(text.spans or ()) for text in texts),
        losses=[*log.skipped(), *lost, *_token_losses(records)],
        repairs=corpus.repairs,
        ledger=replace(corpus.ledger, entries=[]) if corpus.tokenizer else corpus.ledger,
        remarks=[*log.remarks, *corpus.remarks],
    )


def _annotate(sentence: Sentence, record: Record) -> AnnotatedText:
    tokens = list(zip(sentence.starts, sentence.ends, strict=True))
    if isinstance(record, TextRecord):
        spans = [ScoredSpan(*span) for span in record.spans or ()]
    else:
        edges = ((tokens[span.start][0], tokens[span.end - 1][1], span.label) for span in sentence.spans or ())
        spans = [ScoredSpan(*edge) for edge in edges]
    return AnnotatedText(sentence.text, spans=spans, tokens=tokens)


def _token_losses(records: Sequence[Record]) -> list[str]:
    joined = sum(record.text is None for record in records)
    return [f"the raw text of {joined:,} sentences (not in the source; tokens were joined by rules)"] if joined else []
