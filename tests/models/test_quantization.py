"""Compact taggers: the saved model is the evaluated one, little is lost, and features keep their weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from conftest import sentences
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

import nlp_app
from nlp_app.core.errors import ModelError
from nlp_app.core.files import checksum
from nlp_app.features.tagging.encoder import TaggingEncoder
from nlp_app.inference import Tagger
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import TaggerParts, read_model, write_model
from nlp_app.models.directory import DESCRIPTION, WEIGHTS, own_checksum
from nlp_app.models.label_extension import add_labels, add_words
from nlp_app.models.packed_tensors import pack, unpack
from nlp_app.models.quantization import STEP, quantize, round_rows
from nlp_app.nn.tagger import WideBiLstmCrf
from nlp_app.numerics.dimensions import TableSizes, TaggerDimensions
from nlp_app.text import BasicTokenizer

Floats = NDArray[np.float32]
TABLES = ("norms", "shapes", "parts", "vectors", "wide")


def tokens(split: str, count: int) -> list[list[str]]:
    blocks = sentences(split, count).strip("\n").split("\n\n")
    return [[line.split(" ")[0] for line in block.split("\n")] for block in blocks]


SENTENCES = tokens("dev", 30)


def tagger_parts(seed: int = 1, spread: float = 0.3, scheme: str = "BIOES") -> TaggerParts:
    """A tagger whose window features weigh anything from nothing to some multiples of `spread`."""
    tokenizer = BasicTokenizer()
    encoder = TaggingEncoder.fit(SENTENCES[:20], tokenizer.normalize)
    tag_set = TagSet(("LOC", "ORG", "PER"), scheme)
    dimensions = TaggerDimensions(norm=6, shape=4, part=5, hidden=7)
    sizes = TableSizes(**encoder.sizes)
    network = WideBiLstmCrf(len(tag_set.tags), torch.from_numpy(tag_set.allowed), sizes, dimensions)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.5)
        network.wide.weight.copy_(torch.randn_like(network.wide.weight) * spread * torch.rand(sizes.features, 1) ** 2)
        for table in (network.norms, network.shapes, network.parts, network.wide):
            table.weight[0].zero_()
    about: dict[str, Any] = {"data": {"agreement": {}}, "settings": {}}
    return TaggerParts(network.eval(), encoder, tag_set, tokenizer, about)


def emissions(parts: TaggerParts) -> Iterator[torch.Tensor]:
    columns = parts.encoder.encode(SENTENCES)
    for start, end in zip(columns.offsets[:-1], columns.offsets[1:], strict=True):
        row = {name: torch.from_numpy(array[start:end]).unsqueeze(0) for name, array in columns.arrays.items()}
        with torch.no_grad():
            scores = parts.network.emissions(torch.ones(1, end - start, dtype=torch.bool), **row)
        yield scores


def bits(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().numpy().tobytes()


def same_weights(left: TaggerParts, right: TaggerParts) -> bool:
    ours, theirs = left.network.state_dict(), right.network.state_dict()
    return ours.keys() == theirs.keys() and all(bits(ours[name]) == bits(theirs[name]) for name in ours)


# --- what is saved


@settings(max_examples=10)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1e-3, 0.1, 0.5, 5.0, 1e4]), st.sampled_from(["BIOES", "none"]))
def test_compact_tagger_is_restored_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, seed: int, spread: float, scheme: str
) -> None:
    small = quantize(tagger_parts(seed, spread, scheme))
    directory = tmp_path_factory.mktemp("compact")
    write_model(small, directory)
    with safetensors.safe_open(directory / WEIGHTS, "pt") as file:
        assert not {f"{table}.weight" for table in TABLES} & set(file.keys())
    loaded = read_model(directory)
    assert isinstance(loaded, TaggerParts)
    assert same_weights(small, loaded)
    assert np.array_equal(small.encoder.index.keys, loaded.encoder.index.keys)
    for ours, theirs in zip(emissions(small), emissions(loaded), strict=True):
        assert bits(ours) == bits(theirs)


def representable(row: Floats) -> bool:
    """Whether the values are whole multiples, at most 127, of one power of two from 2^-126 to 2^120; by fractions."""
    if not np.isfinite(row).all() or (np.signbit(row) & (row == 0)).any():
        return False
    values = [Fraction(float(value)) for value in row]
    largest = max(map(abs, values))
    return any(
        largest <= 127 * unit and all((value / unit).denominator == 1 for value in values)
        for unit in (Fraction(2) ** exponent for exponent in range(-126, 121))
    )


FLOATS = st.one_of(
    st.floats(width=32),
    st.integers(-130, 130).map(float),
    st.tuples(st.integers(-127, 127), st.integers(-12, 3)).map(lambda pair: float(np.ldexp(*pair))),
    st.sampled_from([0.0, -0.0, 2.0**-126, 2.0**-133, 1e-45, 3e38, 7.0, -7.0, 8.0, -8.0, 127.0, 128.0, -128.0]),
)


@settings(max_examples=100)
@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 4)), elements=FLOATS))
def test_table_is_packed_only_without_loss(table: Floats) -> None:
    packed = pack({"t": table, "u": table}, ["t"])
    assert packed["u"].dtype == np.float32
    assert ("t" not in packed) == all(representable(row) for row in table)
    assert unpack(packed, ["t"])["t"].tobytes() == table.tobytes()


def test_only_float32_tables_are_packed() -> None:
    tensors = {
        "a": np.ones(3, np.float32),
        "b": np.ones((3, 4)),
        "c": np.ones((2, 2, 2), np.float32),
        "d": np.ones((0, 4), np.float32),
        "e": np.ones((4, 0), np.float32),
    }
    assert all(value is tensors[name] for name, value in pack(tensors, tensors).items())


def test_a_table_of_small_numbers_takes_an_eighth() -> None:
    table = np.random.default_rng(1).integers(-7, 8, (4000, 32)).astype(np.float32) / 64
    assert sum(tensor.nbytes for tensor in pack({"t": table}, ["t"]).values()) <= table.nbytes / 8 + 1.2 * len(table)


def test_an_earlier_directory_is_read(tmp_path: Path) -> None:
    parts = tagger_parts()
    write_model(parts, tmp_path)
    assert safetensors.torch.load_file(tmp_path / WEIGHTS).keys() == parts.network.state_dict().keys()
    description = json.loads((tmp_path / DESCRIPTION).read_text()) | {"format": 1}
    description["checksum"] = own_checksum(description)
    (tmp_path / DESCRIPTION).write_text(json.dumps(description))
    loaded = read_model(tmp_path)
    assert isinstance(loaded, TaggerParts)
    assert same_weights(parts, loaded)


WRONG: dict[str, Callable[[torch.Tensor], torch.Tensor | None]] = {
    "missing": lambda tensor: None,
    "of floats": lambda tensor: tensor.float(),
    "of int16": lambda tensor: tensor.to(torch.int16),
    "a row less": lambda tensor: tensor[:-1].contiguous(),
    "a row more": lambda tensor: torch.cat((tensor, tensor[:1])),
    "one dimension more": lambda tensor: tensor.unsqueeze(-1),
    "flat": lambda tensor: tensor.flatten() if tensor.dim() > 1 else tensor.unsqueeze(0),
    "other bits": lambda tensor: ~tensor,
}


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@pytest.mark.parametrize("field", ["exponents", "short", "bytes", "halves"])
@pytest.mark.parametrize("wrong", WRONG)
def test_damaged_tables_are_refused(field: str, wrong: str, backend: str, tmp_path: Path) -> None:
    write_model(quantize(tagger_parts(spread=1.0)), tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / WEIGHTS)
    name = f"wide.weight.{field}"
    assert len(tensors[name]) > 1
    changed = WRONG[wrong](tensors.pop(name))
    replace_weights(tmp_path, tensors | ({} if changed is None else {name: changed}))
    if wrong == "other bits" and field != "short":  # other weights, as good as any
        assert nlp_app.load(tmp_path, backend=backend)
        return
    with pytest.raises(ModelError, match=WEIGHTS) as caught:
        nlp_app.load(tmp_path, backend=backend)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("exponent", [-128, -127, 121, 127])
def test_exponents_beyond_floats_are_refused(exponent: int, tmp_path: Path) -> None:
    write_model(quantize(tagger_parts()), tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / WEIGHTS)
    tensors["parts.weight.exponents"][3] = exponent
    replace_weights(tmp_path, tensors)
    with pytest.raises(ModelError, match="beyond float32"):
        nlp_app.load(tmp_path)


def test_a_table_of_another_width_is_refused(tmp_path: Path) -> None:
    write_model(quantize(tagger_parts()), tmp_path)
    tensors = safetensors.torch.load_file(tmp_path / WEIGHTS)
    narrow = pack({"norms.weight": np.zeros((len(tensors["norms.weight.exponents"]), 5), np.float32)}, ["norms.weight"])
    replace_weights(tmp_path, tensors | {name: torch.from_numpy(array) for name, array in narrow.items()})
    with pytest.raises(ModelError, match="size mismatch"):
        nlp_app.load(tmp_path, backend="torch")
    with pytest.raises(ModelError, match=r"norms.weight: found float32 \(\d+, 5\), expected float32 \(\d+, 6\)"):
        nlp_app.load(tmp_path, backend="numpy")


def replace_weights(directory: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Put other weights into a model, with the checksums that belong to them."""
    safetensors.torch.save_file(tensors, directory / WEIGHTS)
    description = json.loads((directory / DESCRIPTION).read_text())
    description["files"][WEIGHTS] = checksum(directory / WEIGHTS)
    description["checksum"] = own_checksum(description)
    (directory / DESCRIPTION).write_text(json.dumps(description))


# --- what is lost


@settings(max_examples=100)
@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 6), st.integers(1, 5)),
        elements=st.floats(-(2.0**100), 2.0**100, width=32),
    ),
    st.sampled_from([-126, -6, 0, 40]),
)
def test_rounding_is_to_the_nearest_multiple(table: Floats, exponent: int) -> None:
    found = round_rows(table, exponent)
    for row, ours in zip(table.astype(np.float64), found.astype(np.float64), strict=True):
        unit = next(2.0**e for e in range(exponent, 125) if np.rint(np.abs(row).max() / 2.0**e) <= 127)
        assert (np.abs(row - ours) <= unit / 2).all()
        assert (np.abs(ours / unit) <= 127).all()
        assert np.array_equal(ours / unit, np.rint(row / unit))
    assert np.array_equal(round_rows(found, exponent), found)


@pytest.mark.parametrize("spread", [0.02, 0.3, 1.0])
def test_scores_change_little(spread: float) -> None:
    parts = tagger_parts(spread=spread)
    with torch.no_grad():
        parts.network.tags.weight.zero_()  # so that only window features score
        parts.network.wide.weight.clamp_(-127 * STEP, 127 * STEP)
    small = quantize(parts)
    columns = parts.encoder.encode(SENTENCES)
    known = np.split((columns.arrays["features"] > 0).sum(axis=1), columns.offsets[1:-1])
    changed = False
    for old, new, counts in zip(emissions(parts), emissions(small), known, strict=True):
        difference = (old - new).abs()[0].amax(1).numpy()
        assert (difference <= counts * STEP / 2 + 1e-5).all()
        changed |= bool(difference.any())
    assert changed


def test_tagger_that_fits_already_is_not_changed() -> None:
    parts = tagger_parts()
    with torch.no_grad():
        for name in TABLES:
            table = getattr(parts.network, name)
            if table is not None:
                table.weight[1:] = torch.randint(7, 128, table.weight[1:].shape) * STEP
    small = quantize(parts)
    assert same_weights(parts, small)
    assert np.array_equal(parts.encoder.index.keys, small.encoder.index.keys)
    assert Tagger(parts).scored_spans(SENTENCES) == Tagger(small).scored_spans(SENTENCES)


# --- which row is whose


def test_each_feature_keeps_its_own_weights() -> None:
    parts = tagger_parts()
    small = quantize(parts)
    old = dict(zip(parts.encoder.index.keys.tolist(), parts.network.wide.weight[1:].detach().numpy(), strict=True))
    new = dict(zip(small.encoder.index.keys.tolist(), small.network.wide.weight[1:].detach().numpy(), strict=True))
    embedded = set(parts.encoder.index.keys[parts.encoder.part_rows - 1].tolist())
    assert embedded <= new.keys() <= old.keys()
    assert set(small.encoder.index.keys[small.encoder.part_rows - 1].tolist()) == embedded
    for key, weights in old.items():
        assert np.abs(weights - new.get(key, 0)).max() <= STEP / 2
        assert key in new or key not in embedded
    assert not small.network.wide.weight[0].any()
    before, after = (encoded.encoder.encode(SENTENCES).arrays for encoded in (parts, small))
    assert all(np.array_equal(before[name], after[name]) for name in ("norms", "shapes", "parts"))
    rows = before["features"]
    for place in np.ndindex(rows.shape):
        key = int(parts.encoder.index.keys[rows[place] - 1]) if rows[place] else None
        found = after["features"][place]
        assert (int(small.encoder.index.keys[found - 1]) if found else None) == (key if key in new else None)


def test_quantize_does_not_change_its_argument() -> None:
    parts, same = tagger_parts(), tagger_parts()
    parts.network.norms.weight.requires_grad_(False)
    small = quantize(parts)
    assert same_weights(parts, same)
    assert np.array_equal(parts.encoder.index.keys, same.encoder.index.keys)
    trained = [parameter.requires_grad for parameter in parts.network.parameters()]
    assert [parameter.requires_grad for parameter in small.network.parameters()] == trained
    assert not small.network.training


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("table", ["wide", "norms", "tags"])
def test_weights_that_are_not_finite_are_refused(table: str, value: float) -> None:
    parts = tagger_parts()
    getattr(parts.network, table).weight.data[2, 1] = value
    with pytest.raises(ModelError, match="not finite"):
        quantize(parts)


@pytest.mark.parametrize("spread", [0.1, 1.0, 5.0])
def test_quantizing_twice_changes_nothing(spread: float) -> None:
    once = quantize(tagger_parts(spread=spread))
    again = quantize(once)
    assert same_weights(once, again)
    assert np.array_equal(once.encoder.index.keys, again.encoder.index.keys)


def test_a_compact_tagger_can_learn_more(tmp_path: Path) -> None:
    small = quantize(tagger_parts(spread=0.5))
    found = Tagger(small).token_spans(SENTENCES)
    grown = add_labels(add_words(small, SENTENCES[10:], 1, 2), ["AGE"])
    assert len(grown.encoder.index) > len(small.encoder.index)
    assert Tagger(grown).token_spans(SENTENCES) == found
    write_model(grown, tmp_path)
    assert "wide.weight.halves" in safetensors.torch.load_file(tmp_path / WEIGHTS)
    loaded = nlp_app.load(tmp_path)
    assert isinstance(loaded, Tagger)
    assert loaded.token_spans(SENTENCES) == found
