"""Settings of tagging."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlp_app.config.common import (
    Count,
    DataSettings,
    FilePath,
    NameList,
    Number,
    Positive,
    Rate,
    Settings,
    SettingsTable,
    Share,
    TrainSettings,
)


class TaggingDataSettings(DataSettings):
    """The table [data] of `train ner`: files of tokens with tags or texts with spans, and how to read them."""

    BUNDLE: ClassVar[str] = "data/ner/{}.conll"

    format: str = "auto"
    scheme: str = "auto"
    separator: Literal["auto", "tab", "space"] = "auto"
    token_column: Number = 0
    tag_column: Annotated[int, Field(ge=-1)] = -1
    token_pattern: str = ""
    comment_prefix: str = ""
    tags: str = ""
    column: str = "upos"
    text_key: str = ""
    label_key: str = ""
    predictions: bool = False
    alignment: Literal["strict", "expand", "contract"] = "expand"
    strict: bool = False


class TaggerModelSettings(SettingsTable):
    """The table [model] of `train ner`: the network."""

    kind: Literal["bilstm_crf"] = "bilstm_crf"
    initial_model: FilePath = ""
    scheme: Literal["BIO", "IOE2", "BIOES", "BMES", "BILOU"] = "BIOES"
    word_dim: Count = 64
    shape_dim: Count = 16
    affix_dim: Count = 64
    hidden_size: Count = 64
    num_layers: Count = 1
    input_dropout: Share = 0.5
    hidden_dropout: Share = 0.3
    feature_dropout: Share = 0.2
    wide_dropout: Share = 0.3
    singleton_dropout: Share = 0.5
    min_count: Count = 1
    joint_min_count: Count = 2
    vectors: FilePath = ""
    train_vectors: bool = False
    clusters: Literal["auto", "yes", "no"] = "auto"
    lexicon: NameList = Field(default_factory=list)
    quantize: bool = True

    @property
    def network_scheme(self) -> str:
        """The tag scheme of the network."""
        return self.scheme


class TaggingTrainSettings(TrainSettings):
    """The table [train] of `train ner`."""

    batch_tokens: Count = 1024
    sparse_learning_rate: Positive = 1e-2
    crf_learning_rate: Positive = 2e-3
    max_grad_norm: Rate = 0.05
    eval_every_epochs: Number = 0
    tune_outside_bias: bool = True


class TaggingSettings(Settings):
    """All settings of a `train ner` run."""

    data: TaggingDataSettings = TaggingDataSettings()
    model: TaggerModelSettings = TaggerModelSettings()
    train: TaggingTrainSettings = TaggingTrainSettings()
