"""Batches: nothing lost, nothing over budget, order from seed and epoch alone, padding where it belongs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.storage.batching import ProcessShare, length_batches, padding_share, text_batches, training_batches
from nlp_app.storage.ragged import RaggedColumns, collate, gather

lengths_lists = st.lists(st.integers(0, 60), min_size=1, max_size=80)


@given(lengths_lists, st.integers(1, 200), st.integers(0, 5), st.integers(1, 5))
def test_every_row_comes_once_and_within_budget(lengths: list[int], budget: int, epoch: int, ranks: int) -> None:
    array = np.array(lengths)
    batches = list(training_batches(array, budget, seed=3, epoch=epoch))
    shares = [ProcessShare(rank, ranks).select(batch) for batch in batches for rank in range(ranks)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(len(lengths)))
    for batch in batches:  # each process has as many rows of a batch as the others, one aside
        sizes = [len(ProcessShare(rank, ranks).select(batch)) for rank in range(ranks)]
        assert max(sizes) - min(sizes) <= 1
    for rows in [*batches, *length_batches(array, budget)]:
        assert len(rows) == 1 or len(rows) * array[rows].max() <= budget


@given(lengths_lists)
def test_order_follows_from_seed_and_epoch(lengths: list[int]) -> None:
    array = np.array(lengths)
    order = [rows.tolist() for rows in training_batches(array, 100, seed=1, epoch=2)]
    np.random.default_rng().random(5)
    assert order == [rows.tolist() for rows in training_batches(array, 100, seed=1, epoch=2)]


def test_epochs_differ_and_lengths_mix() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 2000)
    first, second = (training_batches(lengths, 1024, seed=1, epoch=epoch) for epoch in (1, 2))
    assert [rows.tolist() for rows in first] != [rows.tolist() for rows in second]
    assert padding_share(lengths, first) < 0.08
    assert np.mean([len(set(lengths[rows].tolist())) for rows in first]) > 3


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.randoms())
def test_collate_is_the_rows_side_by_side(lengths: list[int], random: object) -> None:
    total = sum(lengths)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    flat, wide = np.arange(1, total + 1), np.arange(2 * total).reshape(total, 2) + 1
    rows = list(range(len(lengths)))[::-1]
    batch = collate(RaggedColumns({"flat": flat, "wide": wide}, offsets), rows)
    assert batch["flat"].shape == (len(rows), max(lengths))
    for place, row in enumerate(rows):
        size = lengths[row]
        assert batch["mask"][place].tolist() == [True] * size + [False] * (max(lengths) - size)
        assert batch["flat"][place, :size].tolist() == flat[offsets[row] : offsets[row + 1]].tolist()
        assert batch["wide"][place, :size].tolist() == wide[offsets[row] : offsets[row + 1]].tolist()
        assert not batch["flat"][place, size:].any()
        assert not batch["wide"][place, size:].any()


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_gather_is_the_rows_one_after_the_other(lengths: list[int], data: st.DataObject) -> None:
    total = sum(lengths)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    columns = RaggedColumns({"flat": np.arange(total), "wide": np.arange(2 * total).reshape(total, 2)}, offsets)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=20))
    arrays, found = gather(columns, rows)
    assert found.tolist() == np.cumsum([0, *(lengths[row] for row in rows)]).tolist()
    for name, array in columns.arrays.items():
        assert arrays[name].shape[1:] == array.shape[1:]
        expected = [value for row in rows for value in array[offsets[row] : offsets[row + 1]].tolist()]
        assert arrays[name].tolist() == expected


@given(st.integers(0, 700), st.integers(1, 5), st.integers(0, 5), st.booleans())
def test_each_text_comes_once_an_epoch(texts: int, size: int, epoch: int, by_length: bool) -> None:
    lengths = np.random.default_rng(texts).integers(0, 50, texts) if by_length else None
    batches = [rows.tolist() for rows in text_batches(texts, size, seed=3, epoch=epoch, lengths=lengths)]
    assert sorted(row for rows in batches for row in rows) == list(range(texts))
    assert all(0 < len(rows) <= size for rows in batches)
    assert sum(len(rows) < size for rows in batches) <= 1
    np.random.default_rng().random(5)
    again = text_batches(texts, size, seed=3, epoch=epoch, lengths=lengths)
    assert [rows.tolist() for rows in again] == batches


def test_text_batches_differ_by_epoch_and_seed_and_need_little_padding() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, 3000)
    orders = {
        tuple(row for rows in text_batches(3000, 10, seed=seed, epoch=epoch) for row in rows.tolist())
        for seed in (1, 2)
        for epoch in (1, 2)
    }
    assert len(orders) == 4
    sorted_ones = list(text_batches(3000, 10, seed=1, epoch=1, lengths=lengths))
    assert padding_share(lengths, sorted_ones) < 0.04
    longest = [int(lengths[rows].max()) for rows in sorted_ones]
    assert longest[:100] != sorted(longest[:100])
