"""The layers of pretrained bodies: names, rates, freezing, for architectures that name them differently."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_transformers import TINY, load_body, tiny_bert
from torch import Tensor, nn
from transformers import (
    AlbertConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    DebertaV2Config,
    FunnelConfig,
    GPT2Config,
    ModernBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from nlp_app.core.errors import SettingsError
from nlp_app.engine import OptimizerOptions, make_optimizers
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.nn.transformer_layers import freeze_layers, layer_names, layerwise_rate_factors, position_limit

pytestmark = pytest.mark.numeric

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 70
}  # fmt: skip
BART = BartConfig(
    vocab_size=70, d_model=16, encoder_layers=3, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=30,
)  # fmt: skip
GPT2 = GPT2Config(vocab_size=70, n_embd=16, n_layer=3, n_head=2, n_positions=30, pad_token_id=0)
DEBERTA = DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"])


def numbered(path: str, count: int = 3) -> list[tuple[str, ...]]:
    return [(f"{path}.{number}.",) for number in range(count)]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (
            AlbertConfig(**SIZES, embedding_size=8),
            [
                ("albert.embeddings.", "albert.encoder.embedding_hidden_mapping_in."),
                ("albert.encoder.albert_layer_groups.0.",),
            ],
        ),
        (DEBERTA, [("deberta.embeddings.",), *numbered("deberta.encoder.layer")]),
        (ModernBertConfig(**SIZES, pad_token_id=0), [("model.embeddings.",), *numbered("model.layers")]),
        (MPNetConfig(**SIZES), [("mpnet.embeddings.",), *numbered("mpnet.encoder.layer")]),
        (GPT2, [("transformer.wte.", "transformer.wpe."), *numbered("transformer.h")]),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else "",
)
def test_layers_of_other_architectures(config: PreTrainedConfig, expected: list[tuple[str, ...]]) -> None:
    assert layer_names(AutoModelForTokenClassification.from_config(config)) == expected


@pytest.mark.parametrize(
    ("kind", "root", "path"),
    [
        ("bert", "bert.", "encoder.layer"),
        ("roberta", "roberta.", "encoder.layer"),
        ("xlm-roberta", "roberta.", "encoder.layer"),
        ("distilbert", "distilbert.", "transformer.layer"),
        ("electra", "electra.", "encoder.layer"),
    ],
)
def test_layers_with_a_head_and_without(kind: str, root: str, path: str, tmp_path: Path) -> None:
    for head, prefix in (("token", root), ("sequence", root), ("base", "")):
        TINY[kind](tmp_path / head, head=head)
        lowest, *layers = layer_names(load_body(tmp_path / head, head))
        assert lowest == (f"{prefix}embeddings.", *([f"{prefix}embeddings_project."] if kind == "electra" else []))
        assert layers == numbered(prefix + path, 2)


def test_the_layers_of_an_encoder_and_decoder_are_the_encoders() -> None:
    lowest, *layers = layer_names(AutoModelForSequenceClassification.from_config(BART))
    assert "model.shared." in lowest
    assert layers == numbered("model.encoder.layers")


@pytest.mark.parametrize("groups", [1, 2])
def test_layers_that_share_parameters_are_one(groups: int) -> None:
    config = AlbertConfig(**{**SIZES, "num_hidden_layers": 4}, embedding_size=8, num_hidden_groups=groups)
    assert len(layer_names(AutoModel.from_config(config))) == 1 + groups


def test_layers_that_can_not_be_told_apart() -> None:
    config = FunnelConfig(vocab_size=70, block_sizes=[2, 1], d_model=16, n_head=2, d_head=8, d_inner=24)
    network = TransformerClassifier(AutoModelForSequenceClassification.from_config(config), 2)
    assert layerwise_rate_factors(network, 1.0, 5.0, 1.0) == {"body.classifier.": 5.0}
    freeze_layers(network, 0)
    with pytest.raises(SettingsError, match=r"no list of layers in a model of type 'funnel'"):
        layerwise_rate_factors(network, 0.9, 5.0, 1.0)
    with pytest.raises(SettingsError, match=r"no list of layers"):
        freeze_layers(network, 1)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), head="token", layers=3)


def tagger(directory: Path, **dimensions: Any) -> TransformerTagger:
    body = load_body(directory, "base" if dimensions.get("lstm") else "token")
    return TransformerTagger(body, 2, None, TransformerDimensions(**dimensions))


def rates(network: nn.Module, factors: dict[str, float]) -> dict[str, float]:
    """The rate of each parameter, from an optimizer for a rate of one."""
    optimizers = make_optimizers(network, OptimizerOptions(lr=1.0, rate_factors=factors))
    return {name: group["lr"] for group in optimizers.groups() for name in group["param_names"]}


def test_each_layer_learns_more_slowly_than_the_one_above(directory: Path) -> None:
    network = tagger(directory, head="crf")
    found = rates(network, layerwise_rate_factors(network, 0.5, 20.0, 300.0))
    for name in dict(network.named_parameters()):
        expected = {"embeddings": 0.125, "layer.0": 0.25, "layer.1": 0.5, "layer.2": 1.0, "classifier": 20, "crf": 300}
        assert found[name] == next(rate for part, rate in expected.items() if part in name), name


def test_what_stands_above_the_layers_has_the_full_rate() -> None:
    network = TransformerClassifier(AutoModelForSequenceClassification.from_config(DEBERTA), 2)
    found = rates(network, layerwise_rate_factors(network, 0.5, 20.0, 1.0))
    assert found["body.deberta.encoder.rel_embeddings.weight"] == 1.0
    assert found["body.deberta.encoder.layer.1.output.dense.weight"] == 0.5
    assert found["body.pooler.dense.weight"] == 20.0


def test_the_lstm_and_its_tags_have_the_heads_rate(directory: Path) -> None:
    network = tagger(directory, lstm=4, head="crf")
    factors = layerwise_rate_factors(network, 0.5, 20.0, 300.0)
    assert {prefix: factor for prefix, factor in factors.items() if not prefix.startswith("body.")} == {
        "lstm.": 20.0, "tags.": 20.0, "crf.": 300.0
    }  # fmt: skip
    assert factors["body.encoder.layer.2."] == 1.0
    assert factors["body.embeddings."] == 0.125


def test_without_decay_only_the_heads_have_factors(directory: Path) -> None:
    assert layerwise_rate_factors(tagger(directory), 1.0, 20.0, 300.0) == {"body.classifier.": 20.0}


@pytest.mark.parametrize("layers", [0, 1, 2, 3])
def test_frozen_are_the_embeddings_and_the_lowest_layers(layers: int, directory: Path) -> None:
    network = tagger(directory, head="crf")
    freeze_layers(network, layers)
    parts = ["embeddings.", *(f"encoder.layer.{number}." for number in range(layers))] if layers else []
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad != any(part in name for part in parts), name
    # Factors are only for what is trained, or the optimizers would refuse them.
    assert rates(network, layerwise_rate_factors(network, 0.9, 2.0, 3.0)).keys() == {
        name for name, parameter in network.named_parameters() if parameter.requires_grad
    }


@pytest.mark.parametrize("layers", [-1, 4])
def test_no_more_layers_can_be_frozen_than_there_are(layers: int, directory: Path) -> None:
    network = tagger(directory)
    with pytest.raises(SettingsError, match=rf"model.frozen_layers: found {layers}, expected 0 to 3"):
        freeze_layers(network, layers)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_frozen_layers_and_gradient_checkpointing_give_the_gradients_of_the_rest(directory: Path) -> None:
    mask = torch.ones(1, 4, dtype=torch.bool)
    places = torch.arange(1, 5).unsqueeze(0)
    inputs = {
        "input_ids": torch.randint(5, 60, (1, 6)),
        "attention_mask": torch.ones(1, 6, dtype=torch.long),
        "starts": places,
        "ends": places + 1,
    }

    def gradients(prepare: Callable[[TransformerTagger], None]) -> tuple[dict[str, Tensor], list[int]]:
        network = tagger(directory).train()
        prepare(network)
        runs: list[int] = []
        for number, layer in enumerate(network.body.bert.encoder.layer):
            layer.attention.register_forward_pre_hook(lambda *_, number=number: runs.append(number))
        torch.manual_seed(1)
        network(torch.tensor([[0, 1, 1, 0]]), mask, **inputs).backward()
        return {name: value.grad for name, value in network.named_parameters() if value.grad is not None}, runs

    def prepare(network: TransformerTagger) -> None:
        freeze_layers(network, 1)
        network.enable_gradient_checkpointing()

    everything, once = gradients(lambda network: None)
    found, runs = gradients(prepare)
    assert once == [0, 1, 2]
    assert runs == [0, 1, 2, 2, 1]  # the frozen layer isn't run again
    assert found.keys() == {name for name in everything if not any(part in name for part in ("embeddings", "layer.0."))}
    for name, value in found.items():
        torch.testing.assert_close(value, everything[name], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (GPT2, 30),
        (BART, 30),
        (MPNetConfig(**SIZES, max_position_embeddings=30, pad_token_id=1), 28),
        (AlbertConfig(**SIZES, embedding_size=8, max_position_embeddings=30), 30),
        (DEBERTA, 512),
        (DebertaV2Config(**SIZES, relative_attention=True, position_biased_input=False), None),
    ],
    ids=lambda value: value.model_type if isinstance(value, PreTrainedConfig) else str(value),
)
def test_position_limits_are_where_the_body_fails(config: PreTrainedConfig, expected: int | None) -> None:
    body: PreTrainedModel = AutoModel.from_config(config).eval()
    assert position_limit(body) == expected
    longest = expected or 600
    with torch.no_grad():
        assert len(body(input_ids=torch.randint(5, 60, (1, longest)))[0]) == 1
        if expected:
            with pytest.raises((IndexError, RuntimeError)):
                body(input_ids=torch.randint(5, 60, (1, longest + 1)))
