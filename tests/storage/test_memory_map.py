"""Columns in files: as in memory, whatever pieces they were written in."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.core.errors import TrainingError
from nlp_app.storage.memory_map import ColumnsWriter, MappedColumns, map_columns
from nlp_app.storage.ragged import RaggedColumns, collate, gather

lengths_of_pieces = st.lists(st.lists(st.integers(0, 5), max_size=5), min_size=1, max_size=5)


def piece(lengths: list[int], first: int = 0) -> RaggedColumns:
    size = sum(lengths)
    arrays = {
        "rows": np.arange(first, first + size, dtype=np.int32),
        "weights": np.arange(size, dtype=np.float32) / 7,
        "pairs": np.arange(2 * size, dtype=np.int64).reshape(size, 2) + first,
    }
    return RaggedColumns(arrays, np.cumsum([0, *lengths]))


def together(pieces: list[RaggedColumns]) -> RaggedColumns:
    arrays = {name: np.concatenate([each.arrays[name] for each in pieces]) for name in pieces[0].arrays}
    return RaggedColumns(arrays, np.cumsum([0, *np.concatenate([each.lengths for each in pieces]).tolist()]))


def stored(pieces: list[RaggedColumns], directory: Path) -> MappedColumns:
    writer = ColumnsWriter(directory, "some")
    for each in pieces:
        writer.append(each)
    return writer.close()


def assert_same(found: RaggedColumns, expected: RaggedColumns) -> None:
    assert len(found) == len(expected)
    assert found.offsets.tolist() == expected.offsets.tolist()
    assert found.lengths.tolist() == expected.lengths.tolist()
    assert found.arrays.keys() == expected.arrays.keys()
    for name, array in expected.arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert np.array_equal(found.arrays[name], array)


@given(lengths_of_pieces)
def test_stored_columns_are_those_in_memory(lengths: list[list[int]]) -> None:
    pieces = [piece(each, 10 * number) for number, each in enumerate(lengths)]
    expected = together(pieces)
    with TemporaryDirectory() as directory:
        found = stored(pieces, Path(directory))
        for _ in range(2):
            assert_same(found, expected)
            rows = np.arange(len(expected))[::-1]
            for cut in (gather, lambda columns, rows: (collate(columns, rows), None)):
                (arrays, offsets), (others, other_offsets) = cut(found, rows), cut(expected, rows)
                assert np.array_equal(offsets, other_offsets)
                assert all(np.array_equal(arrays[name], array) for name, array in others.items())
            found.release()


def test_what_was_released_is_read_again(tmp_path: Path) -> None:
    columns = piece([3] * 50_000)
    found = stored([columns, columns], tmp_path)
    kept = found.arrays["rows"][:9]
    found.release()
    found.release()
    assert kept.tolist() == list(range(9))
    assert_same(found, together([columns, columns]))


def test_nothing(tmp_path: Path) -> None:
    for pieces in ([], [piece([])], [piece([0, 0]), piece([])]):
        found = stored(pieces, tmp_path)
        assert len(found) == sum(map(len, pieces))
        assert found.lengths.sum() == 0
        found.release()


def test_stored_columns_can_not_be_changed(tmp_path: Path) -> None:
    found = stored([piece([2])], tmp_path)
    with pytest.raises(ValueError, match="read-only"):
        found.arrays["rows"][0] = 1


def test_no_room(tmp_path: Path) -> None:
    for place in (tmp_path / "missing", Path("/dev/full")):
        with pytest.raises(TrainingError, match=r"cannot write encoded texts: .*; make room") as caught:
            stored([piece([2])], place)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "some-rows").symlink_to("/dev/full")
    with pytest.raises(TrainingError, match="cannot write encoded texts") as caught:
        stored([piece([1000] * 1000)], tmp_path)
    assert "\n" not in str(caught.value)


def test_a_disk_that_fills_up_with_small_pieces(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    small = RaggedColumns({"rows": np.arange(100, dtype=np.int32)}, np.array([0, 100]))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 18, hard))
    try:
        with pytest.raises(TrainingError, match="cannot write encoded texts"):
            stored([small] * 3000, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_arrays_are_as_long_as_the_offsets_say(tmp_path: Path) -> None:
    writer = ColumnsWriter(tmp_path, "some")
    writer.append(piece([2, 3]))
    writer.close()
    os.truncate(tmp_path / "some-rows", 4 * 4)
    with pytest.raises(ValueError, match="some-rows: found 4 elements, expected 5"):
        map_columns(writer.parts)


def test_a_system_may_read_less_than_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "preadv"):
        pytest.skip("batches are read through the map")
    read = os.preadv
    monkeypatch.setattr(os, "preadv", lambda file, buffers, place: read(file, [buffers[0][:5]], place))
    monkeypatch.setattr("nlp_app.storage.memory_map._MAX_RESIDENT", 0)
    pieces = [piece([3, 0, 5]), piece([2, 4], 7)]
    found, expected = stored(pieces, tmp_path), together(pieces)
    rows = np.array([4, 0, 2])
    assert all(np.array_equal(found.select(rows)[0][name], array) for name, array in expected.select(rows)[0].items())
    for name in expected.arrays:
        os.truncate(tmp_path / f"some-{name}", 4)
    with pytest.raises(TrainingError, match="a file was truncated while it was read"):
        found.select(rows)
