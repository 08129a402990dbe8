"""Conversion: what is written is read again, and is what was read."""

from __future__ import annotations

from contextlib import suppress

from fuzz.choices import Choices
from fuzz.folder import file_of, folder
from fuzz.readers import SEQUENCE_FORMATS, SUFFIXES, check_record, sequence_options
from nlp_app.core.errors import NlpAppError
from nlp_app.data.tagging.convert import convert
from nlp_app.data.tagging.corpus import CorpusOptions
from nlp_app.formats import tagging as formats
from nlp_app.labels import schemes

_TARGETS = ("out.conll", "out.conllu", "out.jsonl", "out.xyz")


def conversion(data: bytes) -> None:
    """A file from any format to any other; the result can be read."""
    choices = Choices(data)
    suffix, format = choices.pick(SUFFIXES), choices.pick(SEQUENCE_FORMATS)
    with suppress(NlpAppError):
        options = CorpusOptions(format=format, reading=sequence_options(choices))
        target, scheme = folder() / choices.pick(_TARGETS), choices.pick((None, *schemes.SCHEMES, "XYZ"))
        shape = choices.pick((None, "tokens", "text"))
        source = file_of(f"source{suffix}", choices.rest())
        target.unlink(missing_ok=True)
        before = source.read_bytes()
        report = convert(source, target, options=options, target_scheme=scheme, shape=shape)  # type: ignore[arg-type]
        assert source.read_bytes() == before
        try:
            records = list(formats.read(target, report.target_format))
        except NlpAppError as error:
            raise AssertionError(f"written, and can't be read: {error}") from error
        assert len(records) == report.records, report
        for record in records:
            check_record(record)
