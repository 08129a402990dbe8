"""Continue training from an existing tagger (`model.initial_model`): its settings, new labels and new words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nlp_app.config import TaggingSettings, TransformerTaggingSettings, validate
from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.core.text_table import format_names
from nlp_app.data.tagging.splits import TaggingData, collect_labels
from nlp_app.labels.schemes import NONE
from nlp_app.models import DESCRIPTION, TaggerParts, read_model
from nlp_app.models.label_extension import add_labels, add_words
from nlp_app.nn.tagger import TaggerDimensions

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts
    from nlp_app.models.transformers.models import TransformerTaggerParts


S = TypeVar("S", bound=TaggingSettings | TransformerTaggingSettings)

P = TypeVar("P", bound="TaggerParts | TransformerTaggerParts")

# Settings that may differ from the initial model's; the model decides all others.
_FREE = {
    "input_dropout",
    "hidden_dropout",
    "feature_dropout",
    "wide_dropout",
    "dropout",
    "window_subwords",
    "window_overlap",
}

# The settings of [model] whose dimension in a model's description has another name.
_SETTINGS = {
    "norm": "word_dim",
    "shape": "shape_dim",
    "part": "affix_dim",
    "hidden": "hidden_size",
    "layers": "num_layers",
    "pooling": "subword_pooling",
    "lstm": "lstm_hidden_size",
    "capitals": "casing_embedding",
}


def read_initial_model(settings: S, output: Path) -> tuple[S, AnyTaggerParts | None]:
    """Load the tagger of `model.initial_model`, if one is named, and adopt its settings.

    Raises SettingsError if there is no such tagger, if it is of another kind, or if the settings contradict it.
    """
    if not settings.model.initial_model:
        return settings, None
    directory = Path(settings.model.initial_model)
    if directory.resolve().is_relative_to(output.resolve()):
        raise SettingsError(
            f"model.initial_model: {directory} is in --output, which a run replaces; name another output"
        )
    try:
        parts = read_model(directory, trust_remote_code=getattr(settings.model, "trust_remote_code", False))
    except ModelError as error:
        raise SettingsError(f"model.initial_model: {error}") from error
    if parts.task != "ner":
        raise SettingsError(f"model.initial_model: {directory} is a classifier; expected a tagger")
    kind = "bilstm_crf" if isinstance(parts, TaggerParts) else "transformer"
    if kind != settings.model.kind:
        raise SettingsError(
            f"model.initial_model: {directory} is a {kind}, model.kind is {settings.model.kind}; give the same kind"
        )
    return _decided(settings, directory, parts), parts


def _decided(settings: S, directory: Path, parts: AnyTaggerParts) -> S:
    """The settings with what the model decides, where they don't say it themselves."""
    for name in ("pretrained", "vectors", "replace_head"):
        if getattr(settings.model, name, None):
            raise SettingsError(
                f"model.initial_model: found model.{name} beside it; {directory} brings body, head and vectors of "
                "its own: give one of the two"
            )
    table, differing = settings.model_dump(), []
    for name, key, value in _of_model(parts):
        stated, is_given = table[name].get(key), key in getattr(settings, name).model_fields_set
        if not is_given or stated == "auto":
            table[name] |= {key: value} if key in table[name] else {}
        elif key not in _FREE and stated != value:
            differing.append((f"{name}.{key}", value, stated))
    if differing:
        found = ", ".join(f"{name} = {value!r}" for name, value, _ in differing)
        wanted = ", ".join(f"{name} = {value!r}" for name, _, value in differing)
        raise SettingsError(
            f"model.initial_model: {directory} has {found}; the settings say {wanted}; leave these out, "
            "or give the model's"
        )
    return validate(type(settings), table, f"model.initial_model: {directory}")


def _of_model(parts: AnyTaggerParts) -> Iterator[tuple[str, str, Any]]:
    """Table, name and value of the settings that a model decides."""
    for key, value in asdict(parts.network.dimensions).items():
        yield "model", _SETTINGS.get(key, key), ("yes" if value else "no") if key == "capitals" else value
    if parts.tag_set.scheme != NONE:
        yield "model", "scheme", parts.tag_set.scheme
    if isinstance(parts, TaggerParts):
        vectors = parts.encoder.vectors
        yield "model", "clusters", "no" if vectors is None or vectors.clusters is None else "yes"
    else:
        yield "model", "window_subwords", parts.encoder.window
        yield "model", "window_overlap", parts.encoder.overlap
    yield "data", "tokenizer", parts.tokenizer.name
    yield "data", "lower_case", parts.tokenizer.settings().get("do_lower_case", True)


def initial_model_files(directory: Path) -> list[Path]:
    """The files that a continuation has to find unchanged."""
    description = directory / DESCRIPTION  # it has the checksums of the others
    return [description] if description.is_file() else sorted(path for path in directory.iterdir() if path.is_file())


def extend_labels(start: P, data: TaggingData, directory: str) -> P:
    """The tagger with the labels of the training data as well. Raises SettingsError if they are of another kind."""
    if (start.tag_set.scheme == NONE) != (data.train.scheme == NONE):
        kinds = ("a label for each token", "labeled spans")
        found, wanted = kinds if start.tag_set.scheme == NONE else kinds[::-1]
        raise SettingsError(
            f"model.initial_model: {directory} finds {found}, {data.train.path} has {wanted}; name another"
        )
    grown = add_labels(start, sorted(collect_labels(data.train.sentences)))
    return replace(grown, about=data.about(), card="")


def extend_vocabulary(settings: TaggingSettings, start: TaggerParts, data: TaggingData) -> TaggerParts:
    """The tagger with the words of the training data as well; what training drops is as in the settings."""
    shares = {name: getattr(settings.model, name) for name in asdict(TaggerDimensions()) if name in _FREE}
    parts = add_words(
        start,
        [sentence.tokens for sentence in data.train.sentences],
        settings.model.min_count,
        settings.model.joint_min_count,
        replace(start.network.dimensions, **shares),
    )
    if parts.network.vectors is not None:
        parts.network.vectors.weight.requires_grad_(settings.model.train_vectors)
    return parts


def describe_initial_model(directory: str, old: AnyTaggerParts, new: AnyTaggerParts) -> str:
    """What came of a model that a run goes on from: a line."""
    added = new.tag_set.labels[len(old.tag_set.labels) :]
    line = f"{directory}: labels kept: {format_names(old.tag_set.labels)}; new: {format_names(added) or 'none'}"
    if isinstance(old, TaggerParts) and isinstance(new, TaggerParts):
        before, after = old.encoder.sizes, new.encoder.sizes
        rows = [("words", "norms"), ("shapes", "shapes"), ("window features", "features")]
        line += "".join(f"; {name}: {before[key]:,} kept, {after[key] - before[key]:,} new" for name, key in rows)
    return line
