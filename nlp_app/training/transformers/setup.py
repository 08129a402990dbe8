"""Make a model from a pretrained transformer and an untrained head, and encode its training data."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import torch
from transformers import PreTrainedConfig, PreTrainedModel

from nlp_app.config import (
    TransformerClassificationSettings,
    TransformerModelSettings,
    TransformerTaggerModelSettings,
    TransformerTaggingSettings,
)
from nlp_app.core.errors import SettingsError
from nlp_app.core.text_table import format_names
from nlp_app.data.classification.splits import ClassData
from nlp_app.data.tagging.splits import TaggingData
from nlp_app.features.subwords.casing import KINDS
from nlp_app.features.subwords.encoder import SubwordEncoder
from nlp_app.features.subwords.tokenizer import SubwordTokenizer
from nlp_app.labels.tag_set import TagSet
from nlp_app.models import AnyTaggerParts
from nlp_app.models.transformers.body import max_window
from nlp_app.models.transformers.models import TransformerClassifierParts, TransformerTaggerParts
from nlp_app.models.transformers.pretrained import Pretrained, make_body, max_window_of_body, read_pretrained
from nlp_app.nn.partial_loading import PartialLoad
from nlp_app.nn.transformer import TransformerClassifier, TransformerDimensions, TransformerTagger
from nlp_app.nn.transformer_layers import freeze_layers, layerwise_rate_factors, takes_embeddings
from nlp_app.training.classification.setup import default_decision_rule
from nlp_app.training.examples import LearningRates, PreparedRun
from nlp_app.training.runs.progress import Progress
from nlp_app.training.tagging.initial_model import describe_initial_model, extend_labels, initial_model_files
from nlp_app.training.transformers.examples import SentenceWindows, TextWindows

# The names that kinds of models give to the dropout before the head.
_HEAD_DROPOUT_NAMES = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "dropout_classifier")

_MODEL_SUFFIXES = {".json", ".safetensors", ".txt", ".py"}


def prepare_transformer_tagger(
    settings: TransformerTaggingSettings,
    data: TaggingData,
    progress: Progress,
    initial_model: AnyTaggerParts | None = None,
) -> PreparedRun[TransformerTaggerParts, SentenceWindows]:
    """Make a tagger from a pretrained transformer, or extend an initial model, and encode the training sentences.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.
        initial_model: Tagger to continue training from; None for a new head on a pretrained transformer.

    Returns:
        The tagger, its training windows and learning rates.

    Raises:
        SettingsError: The settings do not fit together, or not to the pretrained model or the data.
    """
    train = settings.train
    if isinstance(initial_model, TransformerTaggerParts):
        parts, files = _extend_initial_model(settings.model, data, progress, initial_model)
    else:
        parts, files = _make_from_pretrained(settings.model, data, progress)
    freeze_layers(parts.network, settings.model.frozen_layers)
    if train.gradient_checkpointing:
        parts.network.enable_gradient_checkpointing()
    rates: LearningRates = {
        "rate_factors": layerwise_rate_factors(
            parts.network,
            train.layerwise_lr_decay,
            head=train.head_learning_rate / train.learning_rate,
            crf=train.crf_learning_rate / train.learning_rate,
        )
    }
    return PreparedRun(parts, SentenceWindows.encode(settings, parts, data, progress.say), rates, files)


def _make_from_pretrained(
    model: TransformerTaggerModelSettings, data: TaggingData, progress: Progress
) -> tuple[TransformerTaggerParts, list[Path]]:
    pretrained = _read_pretrained(model)
    tag_set = TagSet.of(data.train.sentences, data.scheme_of(model.network_scheme))
    body, loaded = make_body(
        pretrained,
        "base" if model.lstm_hidden_size else "token",
        labels=tag_set.tags,
        new_head=model.replace_head,
        partial=model.allow_missing_weights,
    )
    progress.say(_describe_loaded_weights(pretrained, loaded))
    capitals = _use_casing_embedding(model, pretrained.tokenizer, body)
    if capitals:
        progress.say(f"{pretrained.name}: an embedding of capitals and digits is added (model.casing_embedding)")
    dimensions = TransformerDimensions(
        model.subword_pooling, model.head, model.lstm_hidden_size, model.dropout, capitals=KINDS if capitals else 0
    )
    network = TransformerTagger(body, len(tag_set.tags), torch.from_numpy(tag_set.allowed), dimensions)
    encoder = _make_encoder(model, pretrained.tokenizer, max_window_of_body(pretrained), capitals)
    parts = TransformerTaggerParts(network, encoder, tag_set, data.tokenizer, pretrained.files, data.about())
    return parts, _pretrained_files(pretrained)


def _extend_initial_model(
    model: TransformerTaggerModelSettings, data: TaggingData, progress: Progress, initial_model: TransformerTaggerParts
) -> tuple[TransformerTaggerParts, list[Path]]:
    _set_dropout(initial_model.network.body.config, model.dropout)
    parts = extend_labels(initial_model, data, model.initial_model)
    parts.network.dimensions = replace(parts.network.dimensions, dropout=model.dropout)
    progress.say(describe_initial_model(model.initial_model, initial_model, parts))
    limit = max_window(parts.network.body)
    encoder = _make_encoder(model, initial_model.encoder.tokenizer, limit, initial_model.encoder.capitals)
    return replace(parts, encoder=encoder), initial_model_files(Path(model.initial_model))


def prepare_transformer_classifier(
    settings: TransformerClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[TransformerClassifierParts, TextWindows]:
    """Make a classifier from a pretrained transformer, and encode the training texts.

    Args:
        settings: Settings of the run.
        data: The splits.
        progress: Log of the run.

    Returns:
        The classifier, its training windows and learning rates.

    Raises:
        SettingsError: The settings do not fit together, or not to the pretrained model.
    """
    model, train = settings.model, settings.train
    pretrained = _read_pretrained(model)
    body, loaded = make_body(
        pretrained,
        "sequence",
        labels=data.class_set.labels,
        multi_label=data.class_set.multi_label,
        new_head=model.replace_head,
        partial=model.allow_missing_weights,
    )
    progress.say(_describe_loaded_weights(pretrained, loaded))
    network = TransformerClassifier(body, len(data.class_set.labels))
    freeze_layers(network, model.frozen_layers)
    if train.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    parts = TransformerClassifierParts(
        network,
        _make_encoder(model, pretrained.tokenizer, max_window_of_body(pretrained)),
        data.class_set,
        default_decision_rule(data.class_set),
        pretrained.files,
        data.about(),
    )
    rates: LearningRates = {
        "rate_factors": layerwise_rate_factors(
            network, train.layerwise_lr_decay, head=train.head_learning_rate / train.learning_rate, crf=1.0
        )
    }
    return PreparedRun(
        parts, TextWindows.encode(settings, parts, data, progress.say), rates, _pretrained_files(pretrained)
    )


def _describe_loaded_weights(pretrained: Pretrained, loaded: PartialLoad) -> str:
    """Describe which weights of a pretrained model were loaded."""
    parts = [f"{len(loaded.taken)} tensors loaded"]
    if loaded.missing:
        parts.append(f"newly initialized: {format_names(loaded.missing, limit=4)}")
    if loaded.reshaped:
        parts.append(f"shape differs: {format_names(loaded.reshaped, limit=4)}")
    if loaded.left:
        parts.append(f"not used: {format_names(loaded.left, limit=4)}")
    return f"{pretrained.name}: {'; '.join(parts)}"


def _pretrained_files(pretrained: Pretrained) -> list[Path]:
    """List the files of a pretrained model, which must not change before a run is resumed."""
    return sorted(path for path in pretrained.directory.iterdir() if path.suffix in _MODEL_SUFFIXES and path.is_file())


def _read_pretrained(model: TransformerModelSettings) -> Pretrained:
    if not model.pretrained:
        raise SettingsError(
            "model.pretrained: found none, expected a pretrained model; add --set model.pretrained=NAME_OR_DIRECTORY"
        )
    pretrained = read_pretrained(model.pretrained, trust_remote_code=model.trust_remote_code)
    return _with_dropout(pretrained, model.dropout)


def _with_dropout(pretrained: Pretrained, rate: float) -> Pretrained:
    """Return the pretrained model with the dropout rate of the settings before its head."""
    config = copy.deepcopy(pretrained.config)
    _set_dropout(config, rate)
    return replace(pretrained, config=config)


def _set_dropout(config: PreTrainedConfig, rate: float) -> None:
    for name in _HEAD_DROPOUT_NAMES:
        if hasattr(config, name):
            setattr(config, name, rate)


def _use_casing_embedding(
    model: TransformerTaggerModelSettings, tokenizer: SubwordTokenizer, body: PreTrainedModel
) -> bool:
    if model.casing_embedding != "auto":
        return model.casing_embedding == "yes"
    return model.head == "crf" and tokenizer.uncased and takes_embeddings(body)


def _make_encoder(
    model: TransformerModelSettings, tokenizer: SubwordTokenizer, limit: int, capitals: bool = False
) -> SubwordEncoder:
    if model.window_subwords > limit:
        raise SettingsError(
            f"model.window_subwords: found {model.window_subwords}, expected at most {limit}, the model's limit"
        )
    return SubwordEncoder(tokenizer, model.window_subwords or limit, model.window_overlap, capitals)
