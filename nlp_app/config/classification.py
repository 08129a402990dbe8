"""Settings of text classification."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlp_app.config.common import (
    Count,
    DataSettings,
    FilePath,
    LoopSettings,
    Number,
    Positive,
    Range,
    Rate,
    Settings,
    Share,
    Table,
)


class ClassDataSettings(DataSettings):
    """[data] of `train cls`: how files of texts with classes are read."""

    BUNDLE: ClassVar[str] = "data/cls/{}.csv"

    format: Literal["auto", "csv", "tsv", "jsonl", "label_text", "fasttext", "text", "hub"] = "auto"
    text_column: str = ""
    label_column: str = ""
    header: Literal["auto", "yes", "no"] = "auto"
    quoting: Literal["auto", "yes", "no"] = "auto"
    label_separator: str = ""
    multi_label: Literal["auto", "yes", "no"] = "auto"


class ClassifierSettings(Table):
    """[model] of `train cls`: n-grams, network."""

    kind: Literal["embedding_bag", "textcnn", "combined"] = "combined"
    words: Range = "1-2"
    characters: Range = "2-5"
    character_share: Positive = 1.0
    skip_share: Rate = 0.5
    weighting: Literal["tfidf", "count", "binary"] = "tfidf"
    class_weighting: bool = True
    mode: Literal["sum", "mean", "max"] = "sum"
    min_count: Count = 1
    max_ngrams: Count = 1 << 22
    buckets: Number = 0
    wide: Literal["auto", "yes", "no"] = "auto"
    hidden: Number = 128
    ngram_dropout: Share = 0.1
    hidden_dropout: Share = 0.5
    word: Number = 300
    filters: Count = 128
    kernels: Annotated[str, Field(pattern=r"^[1-9][0-9]?(,[1-9][0-9]?)*$")] = "2,3,4"
    stacked: Annotated[int, Field(ge=0, le=8)] = 0
    word_min_count: Count = 1
    word_dropout: Share = 0.1
    filter_dropout: Share = 0.5
    vectors: FilePath = ""
    train_vectors: bool = False


class ClassLossSettings(Table):
    """[train]: the loss of classification."""

    loss: Literal["auto", "cross_entropy", "focal", "hinge", "binary_cross_entropy", "binary_focal"] = "auto"
    smoothing: Share = 0.1
    gamma: Rate = 2.0
    class_weights: str = ""
    imbalance: Literal["none", "weights", "focal", "sampler"] = "none"


class ClassLoopSettings(LoopSettings, ClassLossSettings):
    """[train] of `train cls`."""

    batch_size: Count = 100
    wide_rate: Rate = 0.0
    deep_rate: Rate = 0.0


class ClassSettings(Settings):
    """All settings of a `train cls` run."""

    data: ClassDataSettings = ClassDataSettings()
    model: ClassifierSettings = ClassifierSettings()
    train: ClassLoopSettings = ClassLoopSettings()
