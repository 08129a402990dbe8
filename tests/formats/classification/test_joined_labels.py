"""Classes that look like several labels in one cell."""

from __future__ import annotations

import pytest

from nlp_app.formats.classification.joined_labels import describe_joined_labels


@pytest.mark.parametrize(
    ("labels", "separator"),
    [
        (["slow", "rude", "rude#slow"], "#"),
        (["slow", "rude", "rude | slow", "rude|dirty"], "|"),
        (["slow;rude", "rude;late", "slow;late"], ";"),
        (["slow", "rude", "slow, rude"], ","),
        (["tv", "film", "tv/film", "radio"], "/"),
    ],
)
def test_joined_labels(labels: list[str], separator: str) -> None:
    remark = describe_joined_labels(labels)
    assert remark is not None
    assert f"set data.label_separator={separator!r}" in remark


@pytest.mark.parametrize(
    "labels",
    [
        ["c#", "c", "f#"],
        ["Food & Drink", "Food", "Health/Fitness", "TCP/IP"],
        ["sport|ski", "sport|run", "news|eu"],
        ["sport/ski", "sport/run", "sport"],
        ["a,b", "b,c", "a,c"],  # names with commas
        ["x", "y"],
        [],
    ],
)
def test_names_with_separators(labels: list[str]) -> None:
    assert describe_joined_labels(labels) is None
