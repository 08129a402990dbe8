"""Models on pretrained transformers from settings and data: the pretrained body under an untrained head."""

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

_HEAD_DROPOUT = ("classifier_dropout", "classifier_dropout_prob", "seq_classif_dropout", "dropout_classifier")

_SUFFIXES = {".json", ".safetensors", ".txt", ".py"}


def prepare_transformer_tagger(
    settings: TransformerTaggingSettings,
    data: TaggingData,
    progress: Progress,
    start: AnyTaggerParts | None = None,
) -> PreparedRun[TransformerTaggerParts, SentenceWindows]:
    """A pretrained transformer with a new head for the labels of the training data, or what `start` has learned with
    its head grown; and the training windows."""
    train = settings.train
    if isinstance(start, TransformerTaggerParts):
        parts, files = _grown(settings.model, data, progress, start)
    else:
        parts, files = _fresh(settings.model, data, progress)
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
    return PreparedRun(parts, SentenceWindows.of(settings, parts, data, progress.say), rates, files)


def _fresh(
    model: TransformerTaggerModelSettings, data: TaggingData, progress: Progress
) -> tuple[TransformerTaggerParts, list[Path]]:
    pretrained = _read(model)
    tag_set = TagSet.of(data.train.sentences, data.scheme_of(model.network_scheme))
    body, loaded = make_body(
        pretrained,
        "base" if model.lstm_hidden_size else "token",
        labels=tag_set.tags,
        new_head=model.replace_head,
        partial=model.allow_missing_weights,
    )
    progress.say(_taken(pretrained, loaded))
    capitals = _embeds_capitals(model, pretrained.tokenizer, body)
    if capitals:
        progress.say(f"{pretrained.name}: an embedding of capitals and digits is added (model.casing_embedding)")
    dimensions = TransformerDimensions(
        model.subword_pooling, model.head, model.lstm_hidden_size, model.dropout, capitals=KINDS if capitals else 0
    )
    network = TransformerTagger(body, len(tag_set.tags), torch.from_numpy(tag_set.allowed), dimensions)
    encoder = _encoder(model, pretrained.tokenizer, max_window_of_body(pretrained), capitals)
    parts = TransformerTaggerParts(network, encoder, tag_set, data.tokenizer, pretrained.files, data.about())
    return parts, _files(pretrained)


def _grown(
    model: TransformerTaggerModelSettings, data: TaggingData, progress: Progress, start: TransformerTaggerParts
) -> tuple[TransformerTaggerParts, list[Path]]:
    _set_dropout(start.network.body.config, model.dropout)
    parts = extend_labels(start, data, model.initial_model)
    parts.network.dimensions = replace(parts.network.dimensions, dropout=model.dropout)
    progress.say(describe_initial_model(model.initial_model, start, parts))
    most = max_window(parts.network.body)
    encoder = _encoder(model, start.encoder.tokenizer, most, start.encoder.capitals)
    return replace(parts, encoder=encoder), initial_model_files(Path(model.initial_model))


def prepare_transformer_classifier(
    settings: TransformerClassificationSettings, data: ClassData, progress: Progress
) -> PreparedRun[TransformerClassifierParts, TextWindows]:
    """A pretrained transformer with a new head for the classes of the training data, and the training windows."""
    model, train = settings.model, settings.train
    pretrained = _read(model)
    body, loaded = make_body(
        pretrained,
        "sequence",
        labels=data.class_set.labels,
        multi_label=data.class_set.multi_label,
        new_head=model.replace_head,
        partial=model.allow_missing_weights,
    )
    progress.say(_taken(pretrained, loaded))
    network = TransformerClassifier(body, len(data.class_set.labels))
    freeze_layers(network, model.frozen_layers)
    if train.gradient_checkpointing:
        network.enable_gradient_checkpointing()
    parts = TransformerClassifierParts(
        network,
        _encoder(model, pretrained.tokenizer, max_window_of_body(pretrained)),
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
    return PreparedRun(parts, TextWindows.of(settings, parts, data, progress.say), rates, _files(pretrained))


def _taken(pretrained: Pretrained, loaded: PartialLoad) -> str:
    """What came of a checkpoint's weights."""
    parts = [f"{len(loaded.taken)} tensors taken"]
    if loaded.missing:
        parts.append(f"newly made: {format_names(loaded.missing, limit=4)}")
    if loaded.reshaped:
        parts.append(f"of another shape there: {format_names(loaded.reshaped, limit=4)}")
    if loaded.left:
        parts.append(f"left over: {format_names(loaded.left, limit=4)}")
    return f"{pretrained.name}: {'; '.join(parts)}"


def _files(pretrained: Pretrained) -> list[Path]:
    """The files of a pretrained model that what is trained depends on."""
    return sorted(path for path in pretrained.directory.iterdir() if path.suffix in _SUFFIXES and path.is_file())


def _read(model: TransformerModelSettings) -> Pretrained:
    if not model.pretrained:
        raise SettingsError(
            "model.pretrained: found none, expected a pretrained model; give --set model.pretrained=NAME_OR_DIRECTORY"
        )
    pretrained = read_pretrained(model.pretrained, trust_remote_code=model.trust_remote_code)
    return _with_dropout(pretrained, model.dropout)


def _with_dropout(pretrained: Pretrained, share: float) -> Pretrained:
    """The pretrained model with our share of dropout before its head, whatever its kind calls that."""
    config = copy.deepcopy(pretrained.config)
    _set_dropout(config, share)
    return replace(pretrained, config=config)


def _set_dropout(config: PreTrainedConfig, share: float) -> None:
    for name in _HEAD_DROPOUT:
        if hasattr(config, name):
            setattr(config, name, share)


def _embeds_capitals(model: TransformerTaggerModelSettings, tokenizer: SubwordTokenizer, body: PreTrainedModel) -> bool:
    if model.casing_embedding != "auto":
        return model.casing_embedding == "yes"
    return model.head == "crf" and tokenizer.uncased and takes_embeddings(body)


def _encoder(
    model: TransformerModelSettings, tokenizer: SubwordTokenizer, most: int, capitals: bool = False
) -> SubwordEncoder:
    if model.window_subwords > most:
        raise SettingsError(
            f"model.window_subwords: found {model.window_subwords}, expected at most the {most} pieces the model takes"
        )
    return SubwordEncoder(tokenizer, model.window_subwords or most, model.window_overlap, capitals)
