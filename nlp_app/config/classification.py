"""Settings of text classification."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlp_app.config.common import (
    Count,
    DataSettings,
    FilePath,
    Number,
    Positive,
    Range,
    Rate,
    Settings,
    SettingsTable,
    Share,
    TrainSettings,
)


class ClassificationDataSettings(DataSettings):
    """The table [data] of `train cls`: files of labeled texts, and how to read them."""

    BUNDLE: ClassVar[str] = "data/cls/{}.csv"

    format: Literal["auto", "csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub"] = "auto"
    text_column: str = ""
    label_column: str = ""
    header: Literal["auto", "yes", "no"] = "auto"
    quoting: Literal["auto", "yes", "no"] = "auto"
    quote_character: Literal["auto", "double", "single"] = "auto"
    label_separator: str = ""
    multi_label: Literal["auto", "yes", "no"] = "auto"
    strict: bool = False


class ClassifierModelSettings(SettingsTable):
    """The table [model] of `train cls`: n-grams and network."""

    kind: Literal["embedding_bag", "textcnn", "combined"] = "combined"
    word_ngrams: Range = "1-2"
    char_ngrams: Range = "2-5"
    char_ngram_weight: Positive = 1.0
    skip_gram_weight: Rate = 0.5
    ngram_weighting: Literal["tfidf", "count", "binary"] = "tfidf"
    ngram_class_weighting: bool = True
    mode: Literal["sum", "mean", "max"] = "sum"
    min_count: Count = 1
    max_ngrams: Count = 1 << 22
    hash_buckets: Number = 0
    wide: Literal["auto", "yes", "no"] = "auto"
    hidden_size: Number = 128
    ngram_dropout: Share = 0.1
    hidden_dropout: Share = 0.5
    word_dim: Number = 300
    num_filters: Count = 128
    kernel_sizes: Annotated[str, Field(pattern=r"^[1-9][0-9]?(,[1-9][0-9]?)*$")] = "2,3,4"
    stacked_layers: Annotated[int, Field(ge=0, le=8)] = 0
    word_min_count: Count = 1
    word_dropout: Share = 0.1
    filter_dropout: Share = 0.5
    vectors: FilePath = ""
    train_vectors: bool = False


class ClassificationLossSettings(SettingsTable):
    """The part of [train] that concerns the classification loss."""

    loss: Literal["auto", "cross_entropy", "focal", "hinge", "binary_cross_entropy", "binary_focal"] = "auto"
    label_smoothing: Share = 0.1
    focal_gamma: Rate = 2.0
    class_weights: str | dict[str, Positive] = ""
    imbalance: Literal["none", "weights", "focal", "sampler"] = "none"


class ClassificationTrainSettings(TrainSettings, ClassificationLossSettings):
    """The table [train] of `train cls`."""

    batch_size: Count = 100
    wide_learning_rate: Rate = 0.0
    deep_learning_rate: Rate = 0.0


class ClassificationSettings(Settings):
    """All settings of a `train cls` run."""

    data: ClassificationDataSettings = ClassificationDataSettings()
    model: ClassifierModelSettings = ClassifierModelSettings()
    train: ClassificationTrainSettings = ClassificationTrainSettings()
