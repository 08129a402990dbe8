"""Batches: nothing lost, nothing over budget, order from seed and epoch alone, padding where it belongs."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from nlp_app.features.columns import Columns, collate, length_batches, padding_share, training_batches

lengths_lists = st.lists(st.integers(0, 60), min_size=1, max_size=80)


@given(lengths_lists, st.integers(1, 200), st.integers(0, 5), st.integers(1, 5))
def test_every_row_comes_once_and_within_budget(lengths: list[int], budget: int, epoch: int, ranks: int) -> None:
    array = np.array(lengths)
    batches = [
        batch
        for rank in range(ranks)
        for batch in training_batches(array, budget, seed=3, epoch=epoch, rank=rank, ranks=ranks)
    ]
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(lengths)))
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
    batch = collate(Columns({"flat": flat, "wide": wide}, offsets), rows)
    assert batch["flat"].shape == (len(rows), max(lengths))
    for place, row in enumerate(rows):
        size = lengths[row]
        assert batch["mask"][place].tolist() == [True] * size + [False] * (max(lengths) - size)
        assert batch["flat"][place, :size].tolist() == flat[offsets[row] : offsets[row + 1]].tolist()
        assert batch["wide"][place, :size].tolist() == wide[offsets[row] : offsets[row + 1]].tolist()
        assert not batch["flat"][place, size:].any()
        assert not batch["wide"][place, size:].any()
