"""The tables of settings, frozen and validated. Only the command line and a run read them.

Every default stands here and, with comments, in `configs/*.toml`; a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0, le=1e30)]  # beyond single precision torch can't count
Positive = Annotated[float, Field(gt=0.0, le=1e30)]
Count = Annotated[int, Field(ge=1)]
Number = Annotated[int, Field(ge=0)]
Range = Annotated[str, Field(pattern=r"^$|^[1-9](-[1-9])?$")]  # from the shortest to the longest; empty: none
FilePath = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # the system takes no NUL in a path


class Table(BaseModel):
    """A table of a settings file: no unknown keys, no conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(Table):
    """[data]: the files."""

    BUNDLE: ClassVar[str]  # the bundled corpus, a file each for train, dev and test

    train: FilePath = ""
    dev: FilePath = ""
    test: FilePath = ""
    dev_share: Share = 0.1
    encoding: str = "auto"
    tokenizer: Literal["auto", "basic", "char", "whitespace"] = "auto"
    lower_case: bool = True


class LoopSettings(Table):
    """[train]: the loop."""

    # What `epochs = 0` stands for: small data need more passes, large data fewer.
    UPDATES: ClassVar[int] = 700
    FEWEST_EPOCHS: ClassVar[int] = 4
    MOST_EPOCHS: ClassVar[int] = 30

    engine: Literal["loop", "trainer"] = "loop"
    epochs: Number = 0
    accumulation: Count = 1
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    rate: Positive = 2e-3
    weight_decay: Rate = 0.01
    momentum: Share = 0.9
    schedule: Literal["constant", "linear", "cosine", "step", "plateau"] = "linear"
    warmup: Share = 0.05
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    step_epochs: Count = 5
    clip: Rate = 0.0
    precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    patience: Number = 0
    score_every: Number = 1
    checkpoint_seconds: Rate = 20.0
    ema: Share = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 42
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    deterministic: bool = False


class TrackSettings(Table):
    """[track]: what is recorded of a run beside `history.jsonl`."""

    plots: bool = True
    tensorboard: bool = False


class Settings(Table):
    """What the settings of all tasks have in common."""

    data: DataSettings = DataSettings()
    model: Table = Table()
    train: LoopSettings = LoopSettings()
    track: TrackSettings = TrackSettings()


class TaggingDataSettings(DataSettings):
    """[data] of `train ner`: how files of tokens with tags, or texts with spans, are read."""

    BUNDLE: ClassVar[str] = "data/ner/{}.conll"

    format: Literal["auto", "conll", "conllu", "jsonl", "brat", "text", "hub"] = "auto"
    scheme: str = "auto"
    separator: Literal["auto", "tab", "space"] = "auto"
    token_column: Number = 0
    tag_column: Annotated[int, Field(ge=-1)] = -1
    token_pattern: str = ""
    column: str = "upos"
    alignment: Literal["strict", "expand", "contract"] = "expand"
    strict: bool = False


class TaggerSettings(Table):
    """[model] of `train ner`: the network."""

    kind: Literal["bilstm_crf"] = "bilstm_crf"
    start: FilePath = ""
    scheme: Literal["BIO", "IOE2", "BIOES", "BMES", "BILOU"] = "BIOES"
    norm: Count = 64
    shape: Count = 16
    part: Count = 64
    hidden: Count = 64
    layers: Count = 1
    input_dropout: Share = 0.5
    hidden_dropout: Share = 0.3
    feature_dropout: Share = 0.2
    wide_dropout: Share = 0.3
    unknown_share: Share = 0.5
    min_count: Count = 1
    joint_min_count: Count = 2
    vectors: FilePath = ""
    train_vectors: bool = False
    clusters: Literal["auto", "yes", "no"] = "auto"
    compact: bool = True

    @property
    def network_scheme(self) -> str:
        """The scheme of the network's tags."""
        return self.scheme


class TaggingLoopSettings(LoopSettings):
    """[train] of `train ner`."""

    batch_tokens: Count = 1024
    sparse_rate: Positive = 1e-2
    crf_rate: Positive = 2e-3
    clip: Rate = 0.05
    score_every: Number = 0
    shift_outside: bool = True


class TaggingSettings(Settings):
    """All settings of a `train ner` run."""

    data: TaggingDataSettings = TaggingDataSettings()
    model: TaggerSettings = TaggerSettings()
    train: TaggingLoopSettings = TaggingLoopSettings()


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


class TransformerModelSettings(Table):
    """[model] of a fine-tuned transformer, whatever its task."""

    kind: Literal["transformer"] = "transformer"
    pretrained: FilePath = ""
    dropout: Share = 0.1
    window: Number = 0
    overlap: Number = 32
    freeze: Number = 0
    new_head: bool = False
    partial: bool = False
    trust_remote_code: bool = False


class TransformerLoopSettings(LoopSettings):
    """[train] of a fine-tuned transformer, whatever its task."""

    UPDATES: ClassVar[int] = 350
    FEWEST_EPOCHS: ClassVar[int] = 4
    MOST_EPOCHS: ClassVar[int] = 20

    engine: Literal["loop", "trainer"] = "trainer"
    batch_pieces: Count = 1024
    rate: Positive = 1e-4
    head_rate: Positive = 1e-3
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    gradient_checkpointing: bool = False
    warmup: Share = 0.1
    clip: Rate = 1.0
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    ema: Share = 0.99


class TransformerTaggerSettings(TransformerModelSettings):
    """[model] of `train ner` with a transformer."""

    start: FilePath = ""
    head: Literal["softmax", "crf"] = "crf"
    scheme: Literal["auto", "BIO", "IOE2", "BIOES", "BMES", "BILOU"] = "auto"
    pooling: Literal["first", "mean", "last"] = "first"
    lstm: Number = 0
    capitals: Literal["auto", "yes", "no"] = "auto"

    @property
    def network_scheme(self) -> str:
        """The scheme of the network's tags; for a softmax head BIO, the only one that transformers' pipelines join."""
        if self.scheme != "auto":
            return self.scheme
        return "BIO" if self.head == "softmax" else "BIOES"


class TransformerTaggingLoopSettings(TransformerLoopSettings):
    """[train] of `train ner` with a transformer."""

    crf_rate: Positive = 1e-2


class TransformerTaggingSettings(Settings):
    """All settings of a `train ner` run with a transformer."""

    data: TaggingDataSettings = TaggingDataSettings()
    model: TransformerTaggerSettings = TransformerTaggerSettings()
    train: TransformerTaggingLoopSettings = TransformerTaggingLoopSettings()


class TransformerClassLoopSettings(TransformerLoopSettings, ClassLossSettings):
    """[train] of `train cls` with a transformer."""

    FEWEST_EPOCHS: ClassVar[int] = 6

    rate: Positive = 2e-4


class TransformerClassSettings(Settings):
    """All settings of a `train cls` run with a transformer."""

    data: ClassDataSettings = ClassDataSettings()
    model: TransformerModelSettings = TransformerModelSettings()
    train: TransformerClassLoopSettings = TransformerClassLoopSettings()


class DistillSettings(Table):
    """[distill]: what a student learns from its teacher."""

    teacher: FilePath = ""
    unlabelled: FilePath = ""
    gold: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    copies: Number = 6
    replaced: Share = 0.3
    nearest: Number = 15
    anywhere: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    min_count: Count = 3


class DistilledTaggingSettings(TaggingSettings):
    """All settings of a tagger that learns from another."""

    distill: DistillSettings = DistillSettings()


class DistilledClassSettings(ClassSettings):
    """All settings of a classifier that learns from another."""

    distill: DistillSettings = DistillSettings()


# The settings of each task by `model.kind`; the first of a task is its default.
KINDS: Mapping[str, Mapping[str, type[Settings]]] = {
    "ner": {"bilstm_crf": TaggingSettings, "transformer": TransformerTaggingSettings},
    "cls": {
        "combined": ClassSettings,
        "embedding_bag": ClassSettings,
        "textcnn": ClassSettings,
        "transformer": TransformerClassSettings,
    },
}
