"""Files of spaCy's DocBin, written by spaCy itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nlp_app.core.errors import DataError
from nlp_app.core.types import TokenRecord
from nlp_app.formats.tagging import ReadLog, ReadOptions, detect_format, read


def test_a_doc_bin_is_read(tmp_path: Path) -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is an extra")
    language = spacy.blank("en")
    texts = ["Ada  Lovelace\nleft 😀 London.", "Nobody left."]
    first, second = map(language, texts)
    first.ents = [first.char_span(0, 13, "PER"), first.char_span(21, 27, "LOC")]
    first.spans["sc"] = [first.char_span(14, 18, "ACT")]
    second.ents = []
    path = tmp_path / "train.spacy"
    spacy.tokens.DocBin(docs=[first, second], store_user_data=True).to_disk(path)
    assert detect_format(path) == "spacy"
    log = ReadLog()
    records = [record for record in read(path, log=log) if isinstance(record, TokenRecord)]
    assert [record.tokens for record in records] == [
        ["Ada", "Lovelace", "left", "😀", "London", "."], ["Nobody", "left", "."],
    ]  # fmt: skip
    assert [record.tags for record in records] == [["B-PER", "I-PER", "O", "O", "B-LOC", "O"], ["O", "O", "O"]]
    assert [record.text for record in records] == texts
    for record in records:
        for start, token in zip(record.starts or (), record.tokens, strict=True):
            assert (record.text or "")[start : start + len(token)] == token
    assert log.skipped() == ["1 spans of the group sc"]
    unlabeled = list(read(path, options=ReadOptions(labels=False)))
    assert all(isinstance(record, TokenRecord) and record.tags is None for record in unlabeled)


def test_another_file_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("spacy", reason="spaCy is an extra")
    (tmp_path / "a.spacy").write_bytes(b"no DocBin")
    with pytest.raises(DataError, match="is not a file of spaCy's DocBin"):
        list(read(tmp_path / "a.spacy"))


def test_without_spacy_the_extra_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.spacy"
    path.write_bytes(b"")
    script = (
        "import sys\n"
        "sys.modules['spacy'] = None\n"
        "from nlp_app.core.errors import DataError\n"
        "from nlp_app.formats.tagging import read\n"
        f"try: list(read({str(path)!r}))\n"
        "except DataError as error: print(error)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "a.spacy: reading .spacy files needs spaCy; install it (pip install 'nlp-app[spacy]')" in run.stdout
