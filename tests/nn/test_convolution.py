"""The convolution encoders against windows laid out one by one, and both ways of computing them against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nlp_app.nn import convolution
from nlp_app.nn.convolution import ConvolutionEncoder, StackedConvolutionEncoder, distinct_ids

pytestmark = pytest.mark.numeric

Encoder = ConvolutionEncoder | StackedConvolutionEncoder
WIDTH, ROWS = 4, 9


def array(tensor: Tensor | None) -> np.ndarray:
    assert tensor is not None
    return tensor.detach().double().numpy()


def windows_of(text: np.ndarray, layer: nn.Conv1d) -> np.ndarray:
    """The convolution of one text, (length, width_in) -> (length, filters), window by window with zeros around."""
    kernel, bias, size = array(layer.weight), array(layer.bias), layer.kernel_size[0]
    around = np.zeros((len(text) + 2 * size, text.shape[1]))
    around[size : size + len(text)] = text
    first = [size + place - (size - 1) // 2 for place in range(len(text))]
    return np.array([np.einsum("fdk,kd->f", kernel, around[start : start + size]) + bias for start in first])


def reference(encoder: ConvolutionEncoder, texts: list[np.ndarray]) -> np.ndarray:
    result = np.zeros((len(texts), encoder.width))
    for row, text in enumerate(texts):
        if len(text):
            parts = [np.maximum(windows_of(text, layer), 0).max(0) for layer in encoder.convolutions]
            result[row] = np.concatenate(parts)
    return result


def stacked_reference(encoder: StackedConvolutionEncoder, texts: list[np.ndarray]) -> np.ndarray:
    result = np.zeros((len(texts), encoder.width))
    for row, text in enumerate(texts):
        if not len(text):
            continue
        for number, layer in enumerate(encoder.convolutions):
            if number:
                text = np.array([text[place : place + 2].max(0) for place in range(0, len(text), 2)])
            text = np.maximum(windows_of(text, layer), 0)
        result[row] = np.maximum(array(encoder.dense.weight) @ text.max(0) + array(encoder.dense.bias), 0)
    return result


def batch_of(lengths: list[int], seed: int, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of a table of ROWS, with any numbers on padding, and the mask."""
    random = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths) + padding) < torch.tensor(lengths).unsqueeze(1)
    return torch.randint(0, ROWS, mask.shape, generator=random), mask


def table_of(seed: int) -> Tensor:
    table = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    table[0] = 0
    return table


def texts_of(table: Tensor, rows: Tensor, mask: Tensor) -> list[np.ndarray]:
    return [array(table[row[real]]) for row, real in zip(rows, mask, strict=True)]


lengths_of_texts = st.lists(st.integers(0, 9), min_size=1, max_size=5)
seeds = st.integers(0, 10**6)


@given(lengths_of_texts, st.integers(1, 6), st.integers(0, 3), seeds)
@settings(max_examples=60, deadline=None)
def test_both_ways_are_the_windows_one_by_one(lengths: list[int], size: int, padding: int, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = ConvolutionEncoder(WIDTH, filters=3, kernel_sizes=(size, 2)).double()
    table, (rows, mask) = table_of(seed), batch_of(lengths, seed, padding)
    expected = reference(encoder, texts_of(table, rows, mask))
    np.testing.assert_allclose(array(encoder(table[rows], mask)), expected, atol=1e-12)
    np.testing.assert_allclose(array(encoder.encode_indexed(table, rows, mask)), expected, atol=1e-12)
    np.testing.assert_allclose(array(encoder.encode_tables(encoder.tables(table), rows, mask)), expected, atol=1e-12)


@given(lengths_of_texts, st.integers(1, 4), st.integers(1, 3), seeds)
@settings(max_examples=60, deadline=None)
def test_the_stack_is_its_windows_one_by_one(lengths: list[int], size: int, layers: int, seed: int) -> None:
    torch.manual_seed(seed)
    encoder = StackedConvolutionEncoder(WIDTH, filters=5, kernel_size=size, layers=layers).double()
    table, (rows, mask) = table_of(seed), batch_of(lengths, seed)
    expected = stacked_reference(encoder, texts_of(table, rows, mask))
    np.testing.assert_allclose(array(encoder(table[rows], mask)), expected, atol=1e-12)
    np.testing.assert_allclose(array(encoder.encode_indexed(table, rows, mask)), expected, atol=1e-12)


@given(lengths_of_texts, seeds)
@settings(max_examples=40, deadline=None)
def test_the_gradients_of_both_ways_are_equal(lengths: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    encoder = ConvolutionEncoder(WIDTH, filters=5, kernel_sizes=(1, 2, 4)).double()
    rows, mask = batch_of(lengths, seed)
    upstream = torch.randn(len(lengths), encoder.width, dtype=torch.float64)
    found = []
    for way in ("embeddings", "rows"):
        table = table_of(seed).requires_grad_()
        used, places = distinct_ids(rows)
        encoded = (
            encoder(table[rows], mask) if way == "embeddings" else encoder.encode_indexed(table[used], places, mask)
        )
        encoder.zero_grad()
        if not encoded.requires_grad:
            assert not mask.any()
            return
        encoded.backward(upstream)
        assert table.grad is not None
        # Row 0 is nothing, whatever it holds: it has no gradient by rows.
        found.append([table.grad[1:], *(parameter.grad for parameter in encoder.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=0)


def test_the_gradient_is_the_slope() -> None:
    torch.manual_seed(1)
    encoder = ConvolutionEncoder(WIDTH, filters=3, kernel_sizes=(2, 3)).double()
    rows, mask = batch_of([4, 0, 7, 1], 3)

    def by_rows(table: Tensor, *_: Tensor) -> Tensor:
        return encoder.encode_indexed(table, rows, mask)

    assert torch.autograd.gradcheck(by_rows, (table_of(2).requires_grad_(), *encoder.parameters()))


@pytest.mark.parametrize("kind", [ConvolutionEncoder, StackedConvolutionEncoder])
@pytest.mark.parametrize("rubbish", [1e30, float("nan"), float("inf")])
def test_padding_has_no_influence(kind: type[Encoder], rubbish: float) -> None:
    torch.manual_seed(1)
    encoder, table = kind(WIDTH), table_of(1).float()
    rows, mask = batch_of([5, 0, 1, 8], 1)
    x = table[rows].masked_fill(~mask.unsqueeze(2), 0).requires_grad_()
    plain = encoder(x, mask)
    assert (plain[1] == 0).all()
    plain.sum().backward()
    gradients = [parameter.grad for parameter in encoder.parameters()]
    encoder.zero_grad()
    longer = nn.functional.pad(mask, (0, 5))
    other = nn.functional.pad(x.detach(), (0, 0, 0, 5)).masked_fill(~longer.unsqueeze(2), rubbish).requires_grad_()
    found = encoder(other, longer)
    torch.testing.assert_close(found, plain, atol=1e-6, rtol=0)
    found.sum().backward()
    assert other.grad is not None
    assert (other.grad[~longer] == 0).all()
    for before, parameter in zip(gradients, encoder.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, before, atol=1e-5, rtol=1e-5)
    rubbish_row = table.clone()
    rubbish_row[0] = rubbish
    by_rows = encoder.encode_indexed(rubbish_row, nn.functional.pad(rows, (0, 5), value=3), longer)
    torch.testing.assert_close(by_rows, encoder.encode_indexed(table, rows, mask), atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [ConvolutionEncoder, StackedConvolutionEncoder])
def test_a_text_has_the_same_vector_in_any_company(kind: type[Encoder]) -> None:
    torch.manual_seed(2)
    encoder, table = kind(WIDTH), table_of(2).float()
    rows, mask = batch_of([3, 9, 1, 6, 2], 2)
    together = encoder.encode_indexed(table, rows, mask)
    for number, length in enumerate(mask.sum(1).tolist()):
        alone = encoder.encode_indexed(table, rows[number : number + 1, :length], mask[number : number + 1, :length])
        torch.testing.assert_close(alone[0], together[number], atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", [ConvolutionEncoder, StackedConvolutionEncoder])
def test_nothing_at_all_gives_zeros(kind: type[Encoder]) -> None:
    encoder, mask = kind(WIDTH), torch.zeros(2, 0, dtype=torch.bool)
    for encoded in (
        encoder(torch.zeros(2, 0, WIDTH), mask),
        encoder.encode_indexed(torch.zeros(1, WIDTH), mask.long(), mask),
    ):
        assert encoded.shape == (2, encoder.width)
        assert (encoded == 0).all()


@pytest.mark.parametrize("of_text", [1, 2, 7, 300])
def test_long_texts_go_piece_by_piece(of_text: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(3)
    encoder, table = ConvolutionEncoder(WIDTH, 6).double(), table_of(3)
    rows, mask = batch_of([600, 20, 0, 257], 3)
    whole = reference(encoder, texts_of(table, rows, mask))
    monkeypatch.setattr(convolution, "_WINDOWS_PER_TEXT", min(of_text, 256))
    monkeypatch.setattr(convolution, "_WINDOWS_PER_BATCH", 10**6)
    by_pieces, direct = table.clone().requires_grad_(), table.clone().requires_grad_()
    found = encoder.encode_indexed(by_pieces, rows, mask)
    np.testing.assert_allclose(array(found), whole, atol=1e-12)
    found.square().sum().backward()
    encoder(direct[rows], mask).square().sum().backward()
    assert by_pieces.grad is not None
    assert direct.grad is not None
    torch.testing.assert_close(by_pieces.grad[1:], direct.grad[1:], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", [ConvolutionEncoder, StackedConvolutionEncoder])
def test_bfloat16_stays_near_float32(kind: type[Encoder]) -> None:
    torch.manual_seed(4)
    encoder = kind(WIDTH, 16)
    rows, mask = batch_of([400, 3, 0, 12], 4)
    results = []
    for half in (False, True):
        table = table_of(4).float().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            encoded = encoder.encode_indexed(table, rows, mask)
        assert torch.isfinite(encoded).all()
        encoded.float().sum().backward()
        assert table.grad is not None
        results.append((encoded.float(), table.grad))
    torch.testing.assert_close(results[1][0], results[0][0], atol=0.05, rtol=0.02)
    # Where two windows are nearly equal, rounding may choose the other one: most of the gradient is the same.
    assert torch.nn.functional.cosine_similarity(results[0][1].flatten(), results[1][1].flatten(), dim=0) > 0.95


@given(st.lists(st.integers(0, 50), max_size=30))
def test_distinct_ids_are_the_ids(numbers: list[int]) -> None:
    ids = torch.tensor(numbers, dtype=torch.int32)
    used, places = distinct_ids(ids)
    assert used.tolist() == sorted({0, *numbers})
    assert torch.equal(used[places], ids)
    grid = ids.unsqueeze(0)
    assert distinct_ids(grid)[1].shape == grid.shape


@pytest.mark.parametrize("kernels", [(2, 3, 4), (1,), (5, 2)])
@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_maxima_of_parts_are_those_of_the_whole_text(kernels: tuple[int, ...], layers: int) -> None:
    torch.manual_seed(layers)
    encoder: Encoder = StackedConvolutionEncoder(WIDTH, 3, kernels[0], layers) if layers else ConvolutionEncoder(
        WIDTH, 3, kernels
    )  # fmt: skip
    encoder.double()
    table = torch.randn(ROWS, WIDTH, dtype=torch.float64)
    rows, mask = batch_of([83, 40, 0, 1], seed=layers)
    part = 3 * encoder.stride
    found = []
    for first in range(0, rows.shape[1], part):
        start, end = max(first - encoder.reach, 0), min(first + part, rows.shape[1])
        read = slice(start, end + encoder.reach)
        found.append(encoder.partial_maxima(table, rows[:, read], mask[:, read], slice(first - start, end - start)))
    joined = encoder.encode_maxima(torch.stack(found).amax(0), mask)
    torch.testing.assert_close(joined, encoder.encode_indexed(table, rows, mask), atol=1e-12, rtol=0)
