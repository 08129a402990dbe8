"""Settings for fine-tuning pretrained transformers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlp_app.config.classification import ClassificationDataSettings, ClassificationLossSettings
from nlp_app.config.common import Count, FilePath, Number, Positive, Rate, Settings, SettingsTable, Share, TrainSettings
from nlp_app.config.tagging import TaggingDataSettings


class TransformerModelSettings(SettingsTable):
    """The part of [model] that all fine-tuned transformers share."""

    kind: Literal["transformer"] = "transformer"
    pretrained: FilePath = ""
    dropout: Share = 0.1
    window_subwords: Number = 0
    window_overlap: Number = 32
    frozen_layers: Number = 0
    replace_head: bool = False
    allow_missing_weights: bool = False
    trust_remote_code: bool = False


class TransformerTrainSettings(TrainSettings):
    """The part of [train] that all fine-tuned transformers share."""

    UPDATES: ClassVar[int] = 350
    FEWEST_EPOCHS: ClassVar[int] = 4
    MOST_EPOCHS: ClassVar[int] = 20

    engine: Literal["loop", "trainer"] = "trainer"
    batch_subwords: Count = 1024
    learning_rate: Positive = 1e-4
    head_learning_rate: Positive = 1e-3
    layerwise_lr_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 0.9
    gradient_checkpointing: bool = False
    warmup_ratio: Share = 0.1
    max_grad_norm: Rate = 1.0
    precision: Literal["auto", "no", "bf16", "fp16"] = "auto"
    ema_decay: Share = 0.99


class TransformerTaggerModelSettings(TransformerModelSettings):
    """The table [model] of `train ner` with a transformer."""

    initial_model: FilePath = ""
    head: Literal["softmax", "crf"] = "crf"
    scheme: Literal["auto", "BIO", "IOE2", "BIOES", "BMES", "BILOU"] = "auto"
    subword_pooling: Literal["first", "mean", "last"] = "first"
    lstm_hidden_size: Number = 0
    casing_embedding: Literal["auto", "yes", "no"] = "auto"

    @property
    def network_scheme(self) -> str:
        """The tag scheme of the network.

        The value "auto" stands for BIOES with a CRF head, and for BIO with a softmax head, since the pipelines of
        transformers support no other scheme.
        """
        if self.scheme != "auto":
            return self.scheme
        return "BIO" if self.head == "softmax" else "BIOES"


class TransformerTaggingTrainSettings(TransformerTrainSettings):
    """The table [train] of `train ner` with a transformer."""

    crf_learning_rate: Positive = 1e-2


class TransformerTaggingSettings(Settings):
    """All settings of a `train ner` run with a transformer."""

    data: TaggingDataSettings = TaggingDataSettings()
    model: TransformerTaggerModelSettings = TransformerTaggerModelSettings()
    train: TransformerTaggingTrainSettings = TransformerTaggingTrainSettings()


class TransformerClassificationTrainSettings(TransformerTrainSettings, ClassificationLossSettings):
    """The table [train] of `train cls` with a transformer."""

    FEWEST_EPOCHS: ClassVar[int] = 6

    learning_rate: Positive = 2e-4


class TransformerClassificationSettings(Settings):
    """All settings of a `train cls` run with a transformer."""

    data: ClassificationDataSettings = ClassificationDataSettings()
    model: TransformerModelSettings = TransformerModelSettings()
    train: TransformerClassificationTrainSettings = TransformerClassificationTrainSettings()
