"""An embedding of how tokens are written: nothing at zero, whatever the body; and what it is once it is something."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import TINY, load_body, tiny_bert
from torch import Tensor
from transformers import AlbertConfig, AutoModel, AutoModelForTokenClassification, BartConfig, PreTrainedModel

from nlp_app.core.errors import SettingsError
from nlp_app.engine import OptimizerOptions, make_optimizers
from nlp_app.nn.transformer import TransformerDimensions, TransformerTagger
from nlp_app.nn.transformer_layers import freeze_layers, layerwise_rate_factors

pytestmark = pytest.mark.numeric

LABELS = ("O", "B-X", "I-X")
KINDS = 4
MASK = torch.tensor([[True, True, True], [True, False, False]])
TAGS = torch.tensor([[1, 2, 0], [0, 0, 0]])
# Padding behind the second row; the pieces of a token are of one kind.
KIND = torch.tensor([[0, 1, 2, 2, 2, 3, 3, 3, 0], [0, 2, 2, 2, 2, 0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), ["one", "two"], "token", LABELS)


def inputs(body: PreTrainedModel) -> dict[str, Tensor]:
    attention = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
    ids = torch.randint(5, 60, attention.shape, generator=torch.Generator().manual_seed(1))
    return {
        "input_ids": torch.where(attention.bool(), ids, body.config.pad_token_id),
        "attention_mask": attention,
        "starts": torch.tensor([[1, 2, 5], [1, 0, 0]]),
        "ends": torch.tensor([[2, 5, 8], [5, 1, 1]]),
    }


def pair(directory: Path, **dimensions: Any) -> tuple[TransformerTagger, TransformerTagger, dict[str, Tensor]]:
    """The same network without and with an embedding of capitals, and inputs."""
    kind = "base" if dimensions.get("lstm") else "token"
    plain, capital = (
        TransformerTagger(load_body(directory, kind), 3, None, TransformerDimensions(**dimensions, capitals=kinds))
        for kinds in (0, KINDS)
    )
    capital.load_state_dict(plain.state_dict() | {"capitals.weight": capital.state_dict()["capitals.weight"]})
    return plain.eval(), capital.eval(), inputs(plain.body)


def fill(network: TransformerTagger) -> None:
    with torch.no_grad():
        network.capitals.weight[1:].normal_()


@pytest.mark.parametrize("kind", TINY)
@pytest.mark.parametrize("lstm", [0, 5])
def test_it_begins_by_changing_nothing(kind: str, lstm: int, tmp_path: Path) -> None:
    TINY[kind](tmp_path, head="token", labels=LABELS)
    plain, capital, given = pair(tmp_path, lstm=lstm, head="crf", pooling="mean")
    expected = plain.emissions(MASK, **given)[MASK]
    assert torch.equal(capital.emissions(MASK, **given, capitals=KIND)[MASK], expected)
    assert torch.equal(capital(TAGS, MASK, **given, capitals=KIND), plain(TAGS, MASK, **given))
    fill(capital)
    assert not torch.allclose(capital.emissions(MASK, **given, capitals=KIND)[MASK], expected, atol=1e-3)


@pytest.mark.parametrize("kind", TINY)
def test_it_is_added_to_the_embedding_of_the_piece(kind: str, tmp_path: Path) -> None:
    """The same as from a table that has a row of its own for each piece of each kind."""
    TINY[kind](tmp_path, head="token", labels=LABELS)
    plain, capital, given = pair(tmp_path)
    fill(capital)
    table = plain.body.get_input_embeddings().weight.detach()
    size = len(table)
    rows = torch.cat([table + capital.capitals.weight[number] for number in range(KINDS)])
    plain.body.get_input_embeddings().weight = torch.nn.Parameter(rows)
    written = given | {"input_ids": given["input_ids"] + size * KIND}
    found = capital.emissions(MASK, **given, capitals=KIND)[MASK]
    torch.testing.assert_close(found, plain.emissions(MASK, **written)[MASK], atol=1e-6, rtol=1e-5)


def test_padding_is_nothing(directory: Path) -> None:
    _, network, given = pair(directory)
    fill(network)
    expected = network.emissions(MASK, **given, capitals=KIND)[MASK]
    other = torch.where(given["attention_mask"].bool(), KIND, 3)
    torch.testing.assert_close(network.emissions(MASK, **given, capitals=other)[MASK], expected)


def test_its_weights_come_back_under_their_name(directory: Path) -> None:
    plain, network, given = pair(directory, head="crf")
    fill(network)
    kept = {name: value.clone() for name, value in network.weights().items()}
    assert kept.keys() - plain.weights().keys() == {"capitals.weight"}
    other = pair(directory, head="crf")[1]
    other.load_weights(kept)
    one, two = (each.emissions(MASK, **given, capitals=KIND) for each in (network, other))
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match=r"capitals.weight is unknown"):
        plain.load_weights(kept)


@pytest.mark.parametrize("frozen", [0, 1])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_it_learns_at_the_rate_of_the_head(directory: Path, frozen: int, checkpointing: bool) -> None:
    _, network, given = pair(directory, head="crf")
    network.train()
    freeze_layers(network, frozen)
    if checkpointing:
        network.enable_gradient_checkpointing()
    factors = layerwise_rate_factors(network, 0.5, 20.0, 300.0)
    assert factors["capitals."] == 20
    optimizers = make_optimizers(network, OptimizerOptions(lr=1.0, rate_factors=factors))
    assert {name: group["lr"] for group in optimizers.groups() for name in group["param_names"]}[
        "capitals.weight"
    ] == 20
    network(TAGS, MASK, **given, capitals=KIND).backward()
    gradient = network.capitals.weight.grad
    assert gradient.any(1).tolist() == [False, True, True, True]  # special pieces stay as they were
    assert (network.body.bert.embeddings.word_embeddings.weight.grad is None) == bool(frozen)


def test_gradient_checkpointing_changes_no_gradient(directory: Path) -> None:
    found = []
    for checkpointing in (False, True):
        _, network, given = pair(directory, head="crf")
        freeze_layers(network.train(), 1)
        if checkpointing:
            network.enable_gradient_checkpointing()
        torch.manual_seed(3)
        network(TAGS, MASK, **given, capitals=KIND).backward()
        found.append({name: each.grad for name, each in network.named_parameters() if each.grad is not None})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, atol=1e-6, rtol=1e-5)


def test_inputs_have_to_fit_the_network(directory: Path) -> None:
    plain, network, given = pair(directory)
    with pytest.raises(ValueError, match="capitals: found none; expected some"):
        network.emissions(MASK, **given)
    with pytest.raises(ValueError, match="capitals: found some; expected none"):
        plain.emissions(MASK, **given, capitals=KIND)


def test_embeddings_may_be_narrower_than_layers(tmp_path: Path) -> None:
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
    body = AutoModelForTokenClassification.from_config(
        AlbertConfig(**sizes, vocab_size=70, embedding_size=6, num_labels=3)
    )
    network = TransformerTagger(body, 3, None, TransformerDimensions(capitals=KINDS)).eval()
    assert network.capitals.weight.shape == (KINDS, 6)
    assert network.emissions(MASK, **inputs(body), capitals=KIND).isfinite().all()


def test_a_body_that_reads_pieces_alone_is_refused() -> None:
    config = BartConfig(
        vocab_size=70, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=24, decoder_ffn_dim=24,
    )  # fmt: skip
    body = AutoModel.from_config(config)
    TransformerTagger(body, 3, None, TransformerDimensions(lstm=4))
    with pytest.raises(SettingsError, match=r"model.casing_embedding: found yes for a model of type 'bart'"):
        TransformerTagger(body, 3, None, TransformerDimensions(lstm=4, capitals=KINDS))
