"""Tokenizers, tag schemes, and spans fitted to tokens."""

from __future__ import annotations

from contextlib import suppress

from fuzz.choices import Choices
from nlp_app.core.errors import NlpAppError
from nlp_app.core.types import CharSpan, Tokens, TokenSpan
from nlp_app.data.tagging.alignment import AlignmentReport, TokenEdges, align_spans
from nlp_app.formats.tagging.conllu import align
from nlp_app.labels import schemes as tag_schemes
from nlp_app.labels.scheme_detection import detect_scheme
from nlp_app.labels.transitions import allowed_transitions, segment_boundaries
from nlp_app.text import TOKENIZERS, agreement, make_tokenizer
from nlp_app.text.spacing import join_tokens


def text_of(data: bytes, kind: int) -> str:
    """Any text: UTF-8 with replacements, two or four bytes a character, half characters included."""
    if kind == 0:
        return data.decode("utf-8", "replace")
    if kind == 1:
        return data.decode("utf-16-le", "surrogatepass" if len(data) % 2 == 0 else "replace")
    if kind == 2:
        return data.decode("utf-8", "surrogateescape")
    return "".join(chr(int.from_bytes(data[at : at + 3], "little") % 0x110000) for at in range(0, len(data), 3))


def check_tokens(text: str, tokens: Tokens) -> None:
    """In order, disjoint, never empty, within the text; nothing visible is rewritten."""
    assert len(tokens.norms) == len(tokens.starts) == len(tokens.ends)
    end = 0
    for norm, start, stop in zip(tokens.norms, tokens.starts, tokens.ends, strict=True):
        assert end <= start < stop <= len(text), (text, tokens)
        assert norm, (text, tokens)
        end = stop


def tokenizers(data: bytes) -> None:
    """Each tokenizer: exact offsets, and many texts as each by itself."""
    choices = Choices(data)
    name, lower, kind = choices.pick(tuple(TOKENIZERS)), bool(choices.number(2)), choices.number(4)
    text = text_of(choices.rest(), kind)
    tokenizer = make_tokenizer(name, do_lower_case=lower)
    tokens = tokenizer(text)
    check_tokens(text, tokens)
    pieces = [text, *text.split("\n", 3), "", text[: len(text) // 2]]
    alone = [tokenizer(piece) for piece in pieces]
    assert tokenizer.batch(pieces) == alone, pieces
    norms, counts = tokenizer.norms(pieces)
    assert norms == [norm for found in alone for norm in found.norms], pieces
    assert counts == list(map(len, alone)), pieces
    for start, end in zip(tokens.starts, tokens.ends, strict=True):
        assert tokenizer.normalize(text[start:end]), text[start:end]
    assert agreement(tokenizer, [text], [(tokens.starts, tokens.ends)]) == 1.0


def schemes(data: bytes) -> None:
    """Any tags decoded; what was decoded encoded in every scheme, and decoded again."""
    choices = Choices(data)
    name = choices.pick((*tag_schemes.SCHEMES, *tag_schemes.ALIASES))
    tags = [tag for tag in choices.rest().decode("utf-8", "replace").split() if tag]
    with suppress(NlpAppError):
        assert detect_scheme([tags]).scheme in tag_schemes.SCHEMES
    try:
        spans, repairs = tag_schemes.decode(tags, name)
    except NlpAppError:
        return
    _check_flat(spans, len(tags))
    assert all(0 <= repair.index < len(tags) for repair in repairs)
    written = tag_schemes.encode(spans, len(tags), name)
    assert repairs or written == tags, (tags, written)
    with suppress(NlpAppError):
        allowed_transitions(list(dict.fromkeys(tags))[:50], name)
        segment_boundaries(list(dict.fromkeys(tags))[:50], name)
    if name == tag_schemes.NONE:
        return
    for other in tag_schemes.SCHEMES:
        if other != tag_schemes.NONE:
            assert tag_schemes.decode(tag_schemes.encode(spans, len(tags), other), other) == (spans, []), (tags, other)


def _check_flat(spans: list[TokenSpan], length: int) -> None:
    end = 0
    for span in spans:
        assert end <= span.start < span.end <= length, spans
        end = span.end


def alignment(data: bytes) -> None:
    """Any spans fitted to a tokenizer's tokens: each is accounted for, and the text is found again."""
    choices = Choices(data)
    how = choices.pick(("expand", "contract", "strict"))
    tokenizer = make_tokenizer(choices.pick(tuple(TOKENIZERS)))
    given = [(choices.number(256), choices.number(32), choices.pick("AB")) for _ in range(choices.number(12))]
    text = text_of(choices.rest(), 0)
    tokens = tokenizer(text)
    spans = [CharSpan(start, start + length, label) for start, length, label in given]
    ledger = AlignmentReport()
    edges = TokenEdges(len(text), tokens.starts, tokens.ends)
    aligned, unaligned = align_spans(spans, edges, how, 1, ledger)  # type: ignore[arg-type]
    assert ledger.kept + ledger.adjusted + ledger.dropped == ledger.gold == len(spans)
    _check_flat(aligned, len(tokens))
    assert len(aligned) + len(unaligned) == len(set(spans))
    forms = [text[start:end] for start, end in zip(tokens.starts, tokens.ends, strict=True)]
    joined, starts, ends = join_tokens(forms)
    assert [joined[start:end] for start, end in zip(starts, ends, strict=True)] == forms
    if all(form.strip() == form for form in forms):
        assert align(forms, joined) == starts
