"""Pretrained vectors: the shapes of files they come in, and what is wrong with some of them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nlp_app.core.errors import DataError
from nlp_app.features.pretrained_vectors import read_vectors


def directions(matrix: np.ndarray) -> np.ndarray:
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


def test_text_with_and_without_a_header(tmp_path: Path) -> None:
    rows = "the 0.5 -1 2\n# 1 2 -3 \nder 0 1 0.25\n"
    plain, headed = tmp_path / "a.txt", tmp_path / "b.vec"
    plain.write_text(rows, encoding="utf-8")
    headed.write_text("2519370 3\n" + rows, encoding="utf-8")
    first, second = read_vectors(plain), read_vectors(headed)
    assert first.vocabulary.symbols == second.vocabulary.symbols == ["the", "#", "der"]
    assert np.array_equal(first.matrix, second.matrix)
    assert first.matrix.shape == (5, 3)
    assert not first.matrix[:2].any()
    expected = directions(np.array([[0.5, -1, 2], [1, 2, -3], [0, 1, 0.25]]))
    assert np.allclose(directions(first.matrix[2:]), expected, atol=1e-6)


def test_a_two_dimensional_table_of_numbers_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_text("12 1 2\n13 2 -1\n", encoding="utf-8")
    assert read_vectors(path).vocabulary.symbols == ["12", "13"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\nb 1\n", r"v\.txt:2: found 1 numbers, expected 2"),
        ("a 1 2\nb 1 x\n", r"v\.txt:2: found a value that is not a number"),
        ("", "found no vectors"),
        ("a 1 2\nb 1 nan\n", "not finite"),
    ],
)
def test_bad_text_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "v.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_vectors(path)


def test_npz_with_words_inside_or_beside(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    matrix = random.normal(size=(4, 40))
    matrix[3] = random.random(40)  # drawn uniformly from [0, 1): never trained
    words = ["北", "京", "a", "<UNK>"]
    inside, beside = tmp_path / "in.npz", tmp_path / "embedding.npz"
    np.savez(inside, words=np.array(words), vectors=matrix)
    np.savez(beside, embeddings=matrix[::-1])
    (tmp_path / "vocab.json").write_text(
        json.dumps({word: 3 - row for row, word in enumerate(words)}), encoding="utf-8"
    )
    first, second = read_vectors(inside), read_vectors(beside)
    assert first.vocabulary.symbols == second.vocabulary.symbols == ["北", "京", "a"]
    assert first.untrained == 1
    assert np.allclose(first.matrix, second.matrix)
    assert np.allclose(directions(first.matrix[2:]), directions(matrix[:3]), atol=1e-6)


def test_files_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, vectors=np.ones((2, 3)))
    with pytest.raises(DataError, match=r"no vocab\.json"):
        read_vectors(path)
    path.write_bytes(b"not a zip")
    with pytest.raises(DataError, match="found no vectors"):
        read_vectors(path)
    with pytest.raises(DataError, match="found no vectors"):
        read_vectors(tmp_path / "missing.txt")
    np.savez(path, words=np.array(["a"]), vectors=np.array([[{}]], dtype=object))
    with pytest.raises(DataError, match="found no vectors"):
        read_vectors(path)
