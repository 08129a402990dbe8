"""Words that the formats are made of, for the fuzzer to put in."""

from __future__ import annotations

_WORDS = (
    "B-PER", "I-PER", "E-PER", "S-PER", "O", "-DOCSTART-", "__label__", "#FORMAT=WebAnno TSV", "# text = ", "# sent_id",
    "# global.columns", "SpaceAfter=No", '"text":', '"label":', '"labels":', '"spans":', '"entities":', '"tokens":',
    '"ner_tags":', '"tags":', '"start":', '"end":', '"start_offset":', '"end_offset":', '"data":', '"annotations":',
    '"completions":', '"result":', '"value":', '"type":', '"choices"', '"answer":', '"accept"', '"reject"', '"cats":',
    '"options":', '"user":', "null", "true", "NaN", "Infinity", "1e999", "\\ud800", "\\ud83d\\ude00", "[[[[", "{}",
    "[]", "[data]", "[train]", "[model]", 'kind = "', "'''", '"""', "1979-05-27T07:32:00Z", "nan", "inf", "-0", "0x",
    "9" * 40, "text,label", "label\ttext", "\t", ";", "|", '""', '\\"', "\r\n", "\n\n", "1\t", "1-2\t", "1.1\t", "_\t_",
    "T1\t", "R1\t", ";8 12", "NUM:dist ", "京", "é", "😀",
)  # fmt: skip
_BYTES = (
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\xfe\xff",
    b"\x00",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\xed\xa0\x80",
    b"\xff",
    b"\x81",
)


def dictionary() -> str:
    """The words as libFuzzer's `-dict` file."""
    entries = [*(word.encode() for word in _WORDS), *_BYTES]
    return "".join('"' + "".join(f"\\x{byte:02X}" for byte in entry) + '"\n' for entry in entries)
