"""Networks on pretrained bodies: what they say is what the bodies say at the tokens' pieces, and their weights are
those that transformers writes and reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_transformers import TINY, load_body, tiny_bert
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    BartConfig,
    BartForSequenceClassification,
    BertConfig,
    BertForMaskedLM,
    BertForTokenClassification,
    DebertaV2Config,
    FunnelConfig,
    FunnelForTokenClassification,
    ModernBertConfig,
    NomicBertConfig,
    PreTrainedModel,
)

from nlp_app.engine import (
    Learner,
    OptimizerOptions,
    Schedule,
    ScheduleOptions,
    load_checkpoint,
    make_accelerator,
    make_optimizers,
    save_checkpoint,
)
from nlp_app.nn.losses import BinaryCrossEntropy, CrossEntropy
from nlp_app.nn.transformer import (
    TransformerClassifier,
    TransformerDimensions,
    TransformerTagger,
    body_weights,
    pool_subwords,
)

pytestmark = pytest.mark.numeric

LABELS = ("O", "B-X", "I-X")
# Two rows: three tokens of 1, 3 and 2 pieces with a piece between, and one token of 4; [CLS] in front, [SEP] behind.
MASK = torch.tensor([[True, True, True], [True, False, False]])
STARTS = torch.tensor([[1, 2, 6], [1, 0, 0]])
ENDS = torch.tensor([[2, 5, 8], [5, 0, 0]])
ATTENTION = torch.tensor([[1] * 9, [1] * 6 + [0] * 3])
TAGS = torch.tensor([[1, 2, 0], [0, -100, -100]])
# I-X never begins a sentence, and never follows O.
ALLOWED = torch.ones(5, 5, dtype=torch.bool)
ALLOWED[3, 2] = ALLOWED[0, 2] = False


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert(tmp_path_factory.mktemp("bert"), ["one", "two"], "token", LABELS)


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def inputs() -> dict[str, Tensor]:
    ids = torch.randint(5, 60, ATTENTION.shape, generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids * ATTENTION, "attention_mask": ATTENTION, "starts": STARTS, "ends": ENDS}


def tagger(directory: Path, **dimensions: Any) -> TransformerTagger:
    base = bool(dimensions.get("lstm"))
    body = load_body(directory, "base" if base else "token")
    return TransformerTagger(body, 3, ALLOWED, TransformerDimensions(**dimensions)).eval()


def logits_of(body: PreTrainedModel) -> Tensor:
    given = inputs()
    with torch.no_grad():
        found: Tensor = body(input_ids=given["input_ids"], attention_mask=given["attention_mask"]).logits
    return found


# Emissions


@pytest.mark.parametrize(
    ("pooling", "pool"),
    [
        ("first", lambda pieces: pieces[0]),
        ("last", lambda pieces: pieces[-1]),
        ("mean", lambda pieces: pieces.mean(0)),
    ],
)
@pytest.mark.parametrize("kind", TINY)
def test_emissions_are_the_bodys_logits_at_the_pieces(
    kind: str, pooling: str, pool: Callable[[Tensor], Tensor], tmp_path: Path
) -> None:
    TINY[kind](tmp_path, head="token", labels=LABELS)
    network = tagger(tmp_path, pooling=pooling)
    logits = logits_of(network.body)
    emissions = network.emissions(MASK, **inputs())
    assert emissions.shape == (2, 3, 3)
    assert emissions.dtype == torch.float32
    for row, token in MASK.nonzero().tolist():
        expected = pool(logits[row, STARTS[row, token] : ENDS[row, token]])
        torch.testing.assert_close(emissions[row, token], expected, atol=1e-6, rtol=1e-5)


@st.composite
def divided_rows(draw: st.DrawFn) -> list[list[tuple[int, int]]]:
    """Rows of tokens, each from one piece up to another, with or without pieces between."""
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        place, row = draw(st.integers(0, 2)), []
        for _ in range(draw(st.integers(0, 5))):
            size = draw(st.integers(1, 4))
            row.append((place, place + size))
            place += size + draw(st.integers(0, 2))
        rows.append(row)
    return rows


@given(divided_rows(), st.integers(0, 2))
def test_the_mean_is_that_of_each_tokens_pieces(rows: list[list[tuple[int, int]]], beyond: int) -> None:
    size = max(1, *(len(row) for row in rows))
    width = max([1, *(end for row in rows for _, end in row)]) + beyond
    padded = torch.tensor([[*row, *[(0, 0)] * (size - len(row))] for row in rows])
    mask = torch.tensor([[number < len(row) for number in range(size)] for row in rows])
    pieces = torch.randn(len(rows), width, 3)
    found = pool_subwords(pieces, padded[..., 0], padded[..., 1], mask, "mean")
    for number, row in enumerate(rows):
        for token, (start, end) in enumerate(row):
            torch.testing.assert_close(found[number, token], pieces[number, start:end].mean(0))


def test_the_lstm_reads_tokens_and_padding_changes_nothing(directory: Path) -> None:
    network = tagger(directory, lstm=7, pooling="mean")
    together = network.emissions(MASK, **inputs())
    assert together.shape == (2, 3, 3)
    widths = {"input_ids": 6, "attention_mask": 6, "starts": 1, "ends": 1}
    alone = network.emissions(MASK[1:, :1], **{name: inputs()[name][1:, :width] for name, width in widths.items()})
    torch.testing.assert_close(together[1, :1], alone[0], atol=1e-6, rtol=1e-5)
    # Independently: hidden states, averaged, through a packed LSTM with the same weights, then the linear layer.
    assert network.lstm is not None
    assert network.tags is not None
    packed = nn.LSTM(32, 7, bidirectional=True, batch_first=True)
    with torch.no_grad():
        for direction, half in (("", network.lstm.forwards), ("_reverse", network.lstm.backwards)):
            for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
                getattr(packed, name + direction).copy_(getattr(half, name))
        hidden = network.body(input_ids=inputs()["input_ids"], attention_mask=ATTENTION).last_hidden_state[0]
        tokens = torch.stack([hidden[start:end].mean(0) for start, end in ((1, 2), (2, 5), (6, 8))])
        expected = network.tags(packed(tokens)[0])
    torch.testing.assert_close(together[0], expected, atol=1e-6, rtol=1e-5)


def test_dropout_about_the_lstm_acts_in_training_only(directory: Path) -> None:
    network = tagger(directory, lstm=7, dropout=0.5)
    network.lstm.train()  # type: ignore[union-attr]
    assert torch.equal(network.emissions(MASK, **inputs()), network.emissions(MASK, **inputs()))
    network.train()
    network.body.eval()
    assert not torch.equal(network.emissions(MASK, **inputs()), network.emissions(MASK, **inputs()))


# Losses


def test_the_softmax_loss_is_cross_entropy_over_tokens(directory: Path) -> None:
    network = tagger(directory)
    emissions = network.emissions(MASK, **inputs())
    expected = -sum(
        emissions[row, token].log_softmax(0)[TAGS[row, token]]
        for row, token in MASK.nonzero().tolist()
    )  # fmt: skip
    torch.testing.assert_close(network(TAGS, MASK, **inputs()), expected)
    # A path that is not legal costs no more than its tags: the loss knows nothing of legality.
    assert network(torch.tensor([[2, 2, 2], [2, 0, 0]]), MASK, **inputs()).isfinite()
    assert network(TAGS.to(torch.int16), MASK, **inputs()) == network(TAGS, MASK, **inputs())


def test_a_row_without_tokens_costs_nothing_under_softmax(directory: Path) -> None:
    network = tagger(directory)
    assert network(TAGS, torch.zeros_like(MASK), **inputs()) == 0


def legal_paths(size: int) -> list[tuple[int, ...]]:
    return [
        path
        for path in product(range(3), repeat=size)
        if all(ALLOWED[one, other] for one, other in zip((3, *path), (*path, 4), strict=True))
    ]


def test_the_crf_loss_is_that_of_all_legal_paths(directory: Path) -> None:
    network = tagger(directory, head="crf", pooling="last")
    with torch.no_grad():
        for parameter in network.crf.parameters():
            parameter.normal_()
    crf, emissions = network.crf, network.emissions(MASK, **inputs()).detach()

    def score(row: int, path: tuple[int, ...]) -> Tensor:
        moves = sum(crf.transitions[one, other] for one, other in pairwise(path))
        return crf.start[path[0]] + moves + crf.end[path[-1]] + sum(emissions[row, t, y] for t, y in enumerate(path))

    expected = torch.zeros(())
    for row, gold in enumerate([(1, 2, 0), (0,)]):
        every = torch.stack([score(row, path) for path in legal_paths(len(gold))])
        expected = expected + every.logsumexp(0) - score(row, gold)
    loss = network(TAGS, MASK, **inputs())
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert crf.transitions.grad is not None
    assert crf.transitions.grad.any()


def test_the_softmax_head_decodes_legal_paths_and_has_exact_posteriors(directory: Path) -> None:
    network = tagger(directory)
    with torch.no_grad():
        network.body.classifier.bias.copy_(torch.tensor([0.0, -0.5, 3.0]))  # I-X everywhere, were it legal
    emissions = network.emissions(MASK, **inputs()).detach()
    assert emissions.argmax(2)[MASK].tolist() == [2, 2, 2, 2]
    paths = legal_paths(3)
    scores = torch.stack([emissions[0, torch.arange(3), torch.tensor(path)].sum() for path in paths])
    assert tuple(network.crf.decode(emissions, MASK)[0]) == paths[int(scores.argmax())]
    marginals = network.crf.marginals(emissions, MASK)[0]
    expected = torch.zeros(3, 3, dtype=torch.float64)
    for path, share in zip(paths, scores.double().softmax(0), strict=True):
        expected[torch.arange(3), torch.tensor(path)] += share
    torch.testing.assert_close(marginals, expected, atol=1e-6, rtol=1e-6)


def test_the_softmax_heads_paths_are_neither_trained_nor_saved(directory: Path) -> None:
    network = tagger(directory)
    network(TAGS, MASK, **inputs()).backward()
    network.crf(network.emissions(MASK, **inputs()), torch.where(MASK, 0, 0), MASK).sum().backward()
    assert not list(network.crf.parameters())
    assert not [name for name in network.state_dict() if "crf" in name]
    assert not [name for name in network.weights() if "crf" in name]
    assert network.double().crf.transitions.dtype == torch.float64  # it moves with the network nonetheless


@pytest.mark.parametrize("head", ["softmax", "crf"])
@pytest.mark.parametrize("lstm", [0, 5])
def test_bf16_autocast_leaves_loss_and_emissions_in_full_precision(head: str, lstm: int, directory: Path) -> None:
    network = tagger(directory, head=head, lstm=lstm)
    full = network(TAGS, MASK, **inputs())
    with torch.autocast("cpu", torch.bfloat16):
        assert network.emissions(MASK, **inputs()).dtype == torch.float32
        loss = network(TAGS, MASK, **inputs())
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, full, atol=0.05, rtol=0.05)
    loss.backward()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in network.parameters())


@pytest.mark.parametrize("kind", TINY)
def test_the_classifier_is_the_body_and_a_loss(kind: str, tmp_path: Path) -> None:
    TINY[kind](tmp_path, head="sequence", labels=LABELS)
    network = TransformerClassifier(load_body(tmp_path, "sequence"), 3).eval()
    texts = {name: inputs()[name] for name in ("input_ids", "attention_mask")}
    scores = network.scores(**texts)
    assert torch.equal(scores, logits_of(network.body))
    assert torch.equal(network(**texts), scores)
    with pytest.raises(ValueError, match="found targets, but no loss"):
        network(torch.tensor([0, 2]), **texts)
    network.loss = CrossEntropy()
    expected = nn.functional.cross_entropy(scores, torch.tensor([0, 2]), reduction="sum")
    torch.testing.assert_close(network(torch.tensor([0, 2]), **texts), expected)
    network.loss = BinaryCrossEntropy()
    labels = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    expected = nn.functional.binary_cross_entropy_with_logits(scores, labels, reduction="sum")
    torch.testing.assert_close(network(labels, **texts), expected)
    assert network.weights().keys() == body_weights(network.body).keys()


# Weights

SIZES: dict[str, Any] = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "vocab_size": 70
}  # fmt: skip
BART = BartConfig(
    vocab_size=70, d_model=16, encoder_layers=2, decoder_layers=2, encoder_attention_heads=2, decoder_attention_heads=2,
    encoder_ffn_dim=24, decoder_ffn_dim=24, max_position_embeddings=30,
)  # fmt: skip
BODIES: dict[str, Callable[[], PreTrainedModel]] = {
    "deberta-v2": lambda: AutoModelForTokenClassification.from_config(
        DebertaV2Config(**SIZES, relative_attention=True, pos_att_type=["p2c", "c2p"])
    ),
    "modernbert": lambda: AutoModelForTokenClassification.from_config(ModernBertConfig(**SIZES, pad_token_id=0)),
    "nomic": lambda: AutoModelForSequenceClassification.from_config(NomicBertConfig(**SIZES)),
    "tied: bart": lambda: BartForSequenceClassification(BART),  # the decoder's embeddings are the encoder's
    "tied: masked bert": lambda: BertForMaskedLM(BertConfig(**SIZES)),
}


def saved(body: PreTrainedModel, directory: Path, **options: Any) -> dict[str, Tensor]:
    body.save_pretrained(directory, **options)
    return safetensors.torch.load_file(directory / "model.safetensors")


def equal(found: dict[str, Tensor], expected: dict[str, Tensor]) -> bool:
    return found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("kind", TINY)
def test_weights_are_what_save_pretrained_writes(kind: str, tmp_path: Path) -> None:
    TINY[kind](tmp_path, head="token", labels=LABELS)
    network = tagger(tmp_path)
    assert equal(network.weights(), saved(network.body, tmp_path / "again"))


@pytest.mark.parametrize("kind", BODIES)
def test_tied_and_renamed_weights_are_written_once_in_the_names_of_the_class(kind: str, tmp_path: Path) -> None:
    body = BODIES[kind]()
    assert equal(body_weights(body), saved(body, tmp_path, save_original_format=False))
    safetensors.torch.save(body_weights(body))  # which refuses tensors that share storage
    again, report = type(body).from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values())
    assert equal(dict(again.state_dict()), dict(body.state_dict()))


def test_a_checkpoint_of_old_names_has_weights_of_new_ones(directory: Path, tmp_path: Path) -> None:
    # Checkpoints from before 2019 call a norm's weight gamma and its bias beta, and transformers writes them so again.
    weights = safetensors.torch.load_file(directory / "model.safetensors")
    old = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): value
        for name, value in weights.items()
    }
    assert old.keys() != weights.keys()
    safetensors.torch.save_file(old, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_bytes((directory / "config.json").read_bytes())
    assert equal(tagger(tmp_path).weights(), weights)


@pytest.mark.parametrize(("head", "lstm"), [("softmax", 0), ("crf", 0), ("softmax", 4), ("crf", 4)])
def test_weights_come_back(head: str, lstm: int, directory: Path) -> None:
    network = tagger(directory, head=head, lstm=lstm)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.1)
    kept = {name: value.clone() for name, value in network.weights().items()}
    own = {name.split(".")[0] for name in kept} - {name.split(".")[0] for name in body_weights(network.body)}
    assert own == ({"crf"} if head == "crf" else set()) | ({"lstm", "tags"} if lstm else set())
    other = tagger(directory, head=head, lstm=lstm)
    assert not torch.equal(other.emissions(MASK, **inputs()), network.emissions(MASK, **inputs()))
    other.load_weights(kept)
    assert equal(other.weights(), kept)
    assert torch.equal(other.emissions(MASK, **inputs()), network.emissions(MASK, **inputs()))
    assert torch.equal(other(TAGS, MASK, **inputs()), network(TAGS, MASK, **inputs()))


def test_tied_weights_come_back_under_both_names() -> None:
    body, other = (BartForSequenceClassification(BART) for _ in range(2))
    network = TransformerClassifier(other, 3)
    network.load_weights(body_weights(body))
    assert equal(dict(other.state_dict()), dict(body.state_dict()))
    assert other.model.encoder.embed_tokens.weight is other.model.decoder.embed_tokens.weight


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda weights: weights.pop("classifier.bias"), "classifier.bias is missing"),
        (lambda weights: weights.update({"crf.start": torch.zeros(3)}), "crf.start is unknown"),
        (
            lambda weights: weights.update({"classifier.weight": torch.zeros(4, 32)}),
            r"classifier.weight has shape \[4, 32\] where \[3, 32\] is expected",
        ),
        (lambda weights: weights.clear(), r"is missing.* and \d+ more"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(
    change: Callable[[dict[str, Tensor]], None], message: str, directory: Path
) -> None:
    network = tagger(directory)
    before = {name: value.clone() for name, value in network.weights().items()}
    wrong = {name: value + 1 for name, value in before.items()}
    change(wrong)
    with pytest.raises(ValueError, match=message):
        network.load_weights(wrong)
    assert equal(network.weights(), before)


@pytest.mark.parametrize("tied", [False, True])
def test_a_checkpoint_comes_back(tied: bool, directory: Path, tmp_path: Path) -> None:
    def learner() -> Learner:
        network: nn.Module
        if tied:
            network = TransformerClassifier(BartForSequenceClassification(BART), 3)
        else:
            network = tagger(directory, head="crf", lstm=4)
        optimizers = make_optimizers(network, OptimizerOptions(lr=0.01))
        return Learner(network, optimizers, Schedule(ScheduleOptions(10)), make_accelerator(cpu=True), seed=1)

    first = learner()
    with torch.no_grad():
        for parameter in first.model.parameters():
            parameter.add_(0.5)
    second = learner()
    load_checkpoint(save_checkpoint(tmp_path, first), second)
    assert equal(dict(second.model.state_dict()), dict(first.model.state_dict()))


# What is refused, and memory


@pytest.mark.parametrize("kind", TINY)
def test_a_row_may_be_as_long_as_there_are_positions(kind: str, tmp_path: Path) -> None:
    TINY[kind](tmp_path, head="sequence", labels=LABELS, positions=20)
    network = TransformerClassifier(load_body(tmp_path, "sequence"), 3).eval()
    ids = torch.randint(5, 60, (2, 21))
    assert network.position_limit == 20
    assert network.scores(ids[:, :20], torch.ones(2, 20, dtype=torch.long)).shape == (2, 3)
    with pytest.raises(ValueError, match=r"found 21 subwords in a row; expected at most 20"):
        network.scores(ids, torch.ones(2, 21, dtype=torch.long))


def test_relative_positions_have_no_limit() -> None:
    config = ModernBertConfig(**SIZES, pad_token_id=0, max_position_embeddings=20)
    network = TransformerClassifier(AutoModelForSequenceClassification.from_config(config), 2)
    assert network.position_limit is None
    assert network.scores(torch.randint(5, 60, (1, 40)), torch.ones(1, 40, dtype=torch.long)).isfinite().all()


def test_bart_counts_its_positions_from_an_offset() -> None:
    network = TransformerClassifier(BartForSequenceClassification(BART), 3)
    assert network.position_limit == 30
    ids = torch.randint(5, 60, (1, 30))
    ids[:, -1] = BART.eos_token_id
    assert network.scores(ids, torch.ones_like(ids)).shape == (1, 3)


def test_a_body_with_other_labels_is_refused(directory: Path) -> None:
    with pytest.raises(ValueError, match="found 3 labels; expected 4"):
        TransformerTagger(load_body(directory, "token"), 4, None, TransformerDimensions())
    with pytest.raises(ValueError, match="found 2 labels; expected 4"):
        TransformerClassifier(BertForTokenClassification(BertConfig(**SIZES)), 4)
    for wrong in ({"pooling": "max"}, {"head": "hinge"}):
        with pytest.raises(ValueError, match="dimensions: found"):
            tagger(directory, **wrong)


def gradients(network: nn.Module) -> dict[str, Tensor]:
    network.zero_grad()
    torch.manual_seed(3)
    network(TAGS, MASK, **inputs()).backward()
    return {name: value.grad.clone() for name, value in network.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("kind", TINY)
def test_gradient_checkpointing_gives_the_same_gradients(kind: str, tmp_path: Path) -> None:
    TINY[kind](tmp_path, head="token", labels=LABELS)
    network = tagger(tmp_path, head="crf").train()
    plain = gradients(network)
    runs: list[int] = []
    layer = next(module for module in network.body.modules() if isinstance(module, nn.ModuleList))[0]
    next(layer.children()).register_forward_pre_hook(lambda *_: runs.append(1))
    assert (gradients(network), len(runs))[1] == 1
    network.enable_gradient_checkpointing()
    runs.clear()
    found = gradients(network)
    assert len(runs) == 2  # ahead, and again on the way back
    assert found.keys() == plain.keys()
    for name, value in plain.items():
        torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)


def test_gradient_checkpointing_turns_off_the_cache_of_a_decoder() -> None:
    network = TransformerClassifier(BartForSequenceClassification(BART), 3)
    network.enable_gradient_checkpointing()
    assert network.body.config.use_cache is False


def test_a_body_without_gradient_checkpointing_is_refused() -> None:
    config = FunnelConfig(vocab_size=70, block_sizes=[1, 1], d_model=16, n_head=2, d_head=8, d_inner=24, num_labels=3)
    network = TransformerTagger(FunnelForTokenClassification(config), 3, None, TransformerDimensions())
    with pytest.raises(ValueError, match="found a body of type 'funnel', which does not support it"):
        network.enable_gradient_checkpointing()
