"""Continue training from an existing tagger (`model.initial_model`): its settings, new labels and new words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from nlp_app.config import TaggingSettings, TransformerTaggingSettings, validate
from nlp_app.core.errors import ModelError, SettingsError
from nlp_app.core.text_table import format_names
from nlp_app.data.tagging.remarks import collect_labels
from nlp_app.data.tagging.splits import TaggingData
from nlp_app.labels.schemes import NONE
from nlp_app.models import DESCRIPTION, TaggerParts, read_model
from nlp_app.models.label_extension import add_labels, add_words
from nlp_app.numerics.dimensions import TaggerDimensions

if TYPE_CHECKING:
    from nlp_app.models import AnyTaggerParts
    from nlp_app.models.transformers.models import TransformerTaggerParts


S = TypeVar("S", bound=TaggingSettings | TransformerTaggingSettings)

P = TypeVar("P", bound="TaggerParts | TransformerTaggerParts")

# Settings that may differ from the initial model's; the model decides all others.
_MAY_DIFFER = {
    "input_dropout",
    "hidden_dropout",
    "feature_dropout",
    "wide_dropout",
    "dropout",
    "window_subwords",
    "window_overlap",
}

# Setting of [model] for each dimension in a model's description that has another name.
_SETTING_NAMES = {
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

    Args:
        settings: Settings of the run.
        output: Run directory, which must not contain the initial model.

    Returns:
        The settings, with those that the model decides, and the model; None if no initial model is named.

    Raises:
        SettingsError: There is no tagger in the directory, it has another kind, or the settings contradict it.
    """
    if not settings.model.initial_model:
        return settings, None
    directory = Path(settings.model.initial_model)
    if directory.resolve().is_relative_to(output.resolve()):
        raise SettingsError(
            f"model.initial_model: {directory} is in --output, which the run replaces; choose another output directory"
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
            f"model.initial_model: {directory} is a {kind}, but model.kind is {settings.model.kind}; set model.kind to "
            f"{kind}"
        )
    return _adopt_settings(settings, directory, parts), parts


def _adopt_settings(settings: S, directory: Path, parts: AnyTaggerParts) -> S:
    """Fill settings that are not set with those of the model; raise SettingsError if others contradict it."""
    for name in ("pretrained", "vectors", "lexicon", "replace_head"):
        if getattr(settings.model, name, None):
            raise SettingsError(
                f"model.initial_model: cannot be combined with model.{name}; {directory} already has its body, "
                "head, vectors and lexicon. Set only one of the two"
            )
    table, conflicts = settings.model_dump(), []
    for name, key, value in _settings_of_model(parts):
        current, is_set = table[name].get(key), key in getattr(settings, name).model_fields_set
        if not is_set or current == "auto":
            table[name] |= {key: value} if key in table[name] else {}
        elif key not in _MAY_DIFFER and current != value:
            conflicts.append((f"{name}.{key}", value, current))
    if conflicts:
        found = ", ".join(f"{name} = {value!r}" for name, value, _ in conflicts)
        given = ", ".join(f"{name} = {value!r}" for name, _, value in conflicts)
        raise SettingsError(
            f"model.initial_model: {directory} has {found}, but the settings have {given}; remove these settings, "
            "or use the model's values"
        )
    return validate(type(settings), table, f"model.initial_model: {directory}")


def _settings_of_model(parts: AnyTaggerParts) -> Iterator[tuple[str, str, Any]]:
    """Iterate over table, name and value of the settings that a model decides."""
    for key, value in asdict(parts.network.dimensions).items():
        yield "model", _SETTING_NAMES.get(key, key), ("yes" if value else "no") if key == "capitals" else value
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
    """List the files of an initial model that must not change before a run is resumed.

    Args:
        directory: Directory of the model.

    Returns:
        The model's description, which has checksums of the other files; all files if there is no description.
    """
    description = directory / DESCRIPTION
    return [description] if description.is_file() else sorted(path for path in directory.iterdir() if path.is_file())


def extend_labels(initial: P, data: TaggingData, directory: str) -> P:
    """Add the labels of the training data to a tagger.

    Args:
        initial: The tagger.
        data: The splits.
        directory: Directory of the tagger, for messages.

    Returns:
        A tagger with the labels of both, and the description of the data.

    Raises:
        SettingsError: The tagger labels tokens and the data spans, or the other way round.
    """
    if (initial.tag_set.scheme == NONE) != (data.train.scheme == NONE):
        kinds = ("a label for each token", "labeled spans")
        found, given = kinds if initial.tag_set.scheme == NONE else kinds[::-1]
        raise SettingsError(
            f"model.initial_model: {directory} predicts {found}, but {data.train.path} has {given}; choose another "
            "model or other data"
        )
    extended = add_labels(initial, sorted(collect_labels(data.train.sentences)))
    lists = {"lexicon": initial.about["lexicon"]} if "lexicon" in initial.about else {}
    return replace(extended, about=data.about() | lists, card="")


def extend_vocabulary(settings: TaggingSettings, initial: TaggerParts, data: TaggingData) -> TaggerParts:
    """Add the words of the training data to a tagger, and set dropout as in the settings.

    Args:
        settings: Settings of the run.
        initial: The tagger.
        data: The splits.

    Returns:
        A tagger with the words of both.
    """
    dropouts = {name: getattr(settings.model, name) for name in asdict(TaggerDimensions()) if name in _MAY_DIFFER}
    parts = add_words(
        initial,
        [sentence.tokens for sentence in data.train.sentences],
        settings.model.min_count,
        settings.model.joint_min_count,
        replace(initial.network.dimensions, **dropouts),
    )
    if parts.network.vectors is not None:
        parts.network.vectors.weight.requires_grad_(settings.model.train_vectors)
    return parts


def describe_initial_model(directory: str, old: AnyTaggerParts, new: AnyTaggerParts) -> str:
    """Describe how an initial model was extended.

    Args:
        directory: Directory of the initial model.
        old: The initial model.
        new: The model with the labels and words of the training data.

    Returns:
        One line for the log.
    """
    added = new.tag_set.labels[len(old.tag_set.labels) :]
    line = f"{directory}: labels kept: {format_names(old.tag_set.labels)}; new: {format_names(added) or 'none'}"
    if isinstance(old, TaggerParts) and isinstance(new, TaggerParts):
        before, after = old.encoder.sizes, new.encoder.sizes
        rows = [("words", "norms"), ("shapes", "shapes"), ("window features", "features")]
        line += "".join(f"; {name}: {before[key]:,} kept, {after[key] - before[key]:,} new" for name, key in rows)
    return line
