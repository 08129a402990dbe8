"""The tagger's network: padding changes nothing, and the unpacked BiLSTM is the packed one."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from nlp_app.nn.lstm import BiLstm, reversal_indices
from nlp_app.nn.summary import parameter_count, summary_table
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions

pytestmark = pytest.mark.numeric

SIZES = TableSizes(norms=20, shapes=6, parts=30, features=50, vectors=9)
LENGTHS = [7, 1, 4]


def mask_of(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths).unsqueeze(1)


def columns_for(mask: Tensor) -> dict[str, Tensor]:
    torch.manual_seed(1)
    shape = mask.shape
    columns = {
        "norms": torch.randint(1, SIZES.norms, shape),
        "shapes": torch.randint(1, SIZES.shapes, shape),
        "parts": torch.randint(0, SIZES.parts, (*shape, 3)),
        "features": torch.randint(0, SIZES.features, (*shape, 5)),
        "vectors": torch.randint(1, SIZES.vectors, shape),
    }
    return {name: ids * (mask if ids.ndim == 2 else mask.unsqueeze(-1)) for name, ids in columns.items()}


def network(**dimensions: float) -> WideBiLstmCrf:
    torch.manual_seed(0)
    net = WideBiLstmCrf(4, None, SIZES, TaggerDimensions(norm=8, shape=3, part=5, vector=6, hidden=7, **dimensions))  # type: ignore[arg-type]
    nn.init.normal_(net.wide.weight)
    with torch.no_grad():
        net.wide.weight[0].zero_()
    return net


@pytest.mark.parametrize("layers", [1, 2])
def test_bilstm_equals_a_packed_one(layers: int) -> None:
    torch.manual_seed(0)
    packed = nn.LSTM(5, 6, num_layers=layers, bidirectional=True, batch_first=True)
    ours = [BiLstm(5 if number == 0 else 12, 6) for number in range(layers)]
    for number, layer in enumerate(ours):
        for direction, half in (("", layer.forwards), ("_reverse", layer.backwards)):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                value = getattr(packed, f"{kind}_l{number}{direction}")
                with torch.no_grad():
                    getattr(half, f"{kind}_l0").copy_(value)
    mask = mask_of(LENGTHS, 7)
    x = torch.randn(3, 7, 5)
    bundle = nn.utils.rnn.pack_padded_sequence(x, torch.tensor(LENGTHS), batch_first=True, enforce_sorted=False)
    expected, _ = nn.utils.rnn.pad_packed_sequence(packed(bundle)[0], batch_first=True)
    found = x
    for layer in ours:
        found = layer(found, reversal_indices(mask))
    assert torch.allclose(found[mask], expected[mask], atol=1e-6)
    with torch.no_grad():
        for row, length in enumerate(LENGTHS):
            for end in (length, 7):  # with its padding and without
                alone, part = x[row : row + 1, :end], mask[row : row + 1, :end]
                for layer in ours:
                    alone = layer(alone, reversal_indices(part))
                assert torch.allclose(alone[0, :length], expected[row, :length], atol=1e-6)
        together = x
        for layer in ours:
            together = layer(together, reversal_indices(mask))
        torch.testing.assert_close(together, found, rtol=1e-5, atol=1e-6)


def test_reversal_is_its_own_inverse() -> None:
    mask = mask_of(LENGTHS, 7)
    reversal = reversal_indices(mask)
    assert reversal[0].tolist() == [6, 5, 4, 3, 2, 1, 0]
    assert reversal[2].tolist() == [3, 2, 1, 0, 4, 5, 6]
    assert torch.equal(reversal.gather(1, reversal), torch.arange(7).expand(3, 7))


def test_loss_and_emissions_of_a_batch_are_those_of_its_rows() -> None:
    net = network().eval()
    mask = mask_of(LENGTHS, 7)
    columns = columns_for(mask)
    tags = torch.randint(0, 4, (3, 7))
    together = net(mask, tags, **columns)
    apart = torch.stack(
        [
            net(
                mask[row : row + 1, :size],
                tags[row : row + 1, :size],
                **{name: ids[row : row + 1, :size] for name, ids in columns.items()},
            )
            for row, size in enumerate(LENGTHS)
        ]
    )
    assert torch.allclose(together, apart.sum(), atol=1e-5)


def test_the_wide_part_adds_the_weights_of_the_features() -> None:
    net = network().eval()
    mask = mask_of(LENGTHS, 7)
    columns = columns_for(mask)
    with_features = net.emissions(mask, **columns)
    without = net.emissions(mask, **{**columns, "features": torch.zeros_like(columns["features"])})
    expected = net.wide.weight[columns["features"]].sum(2)
    assert torch.allclose(with_features - without, expected, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    net = network(feature_dropout=0.9, wide_dropout=0.0, input_dropout=0.0, hidden_dropout=0.0)
    mask = mask_of(LENGTHS, 7)
    columns = columns_for(mask)
    assert not torch.equal(net.train().emissions(mask, **columns), net.emissions(mask, **columns))
    assert torch.equal(net.eval().emissions(mask, **columns), net.emissions(mask, **columns))


def test_vectors_are_frozen_unless_trained() -> None:
    net = network()
    matrix = torch.randn(SIZES.vectors, 6)
    net.set_vectors(matrix, trained=False)
    assert net.vectors is not None
    assert torch.equal(net.vectors.weight, matrix)
    mask = mask_of(LENGTHS, 7)
    net(mask, torch.zeros(3, 7, dtype=torch.long), **columns_for(mask)).backward()
    assert net.vectors.weight.grad is None
    net.set_vectors(matrix, trained=True)
    net(mask, torch.zeros(3, 7, dtype=torch.long), **columns_for(mask)).backward()
    assert net.vectors.weight.grad is not None
    with pytest.raises(ValueError, match="don't fit"):
        net.set_vectors(matrix[:3], trained=False)


def test_bf16_keeps_scores_close_and_the_loss_in_full_precision() -> None:
    net = network().eval()
    mask = mask_of(LENGTHS, 7)
    columns = columns_for(mask)
    tags = torch.randint(0, 4, (3, 7))
    with torch.autocast("cpu", torch.bfloat16):
        loss = net(mask, tags, **columns)
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, net(mask, tags, **columns), rtol=0.02)


def test_the_summary_counts_what_there_is() -> None:
    net = network()
    net.set_vectors(torch.zeros(SIZES.vectors, 6), trained=False)
    table = summary_table(net)
    expected = sum(parameter.numel() for parameter in net.parameters())
    assert parameter_count(net) == expected
    assert f"{expected:,}" in table.splitlines()[-1]
    assert f"{expected - SIZES.vectors * 6:,}" in table.splitlines()[-1]
