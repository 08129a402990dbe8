"""Settings of pretrained transformers."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nlp_app.config.classification import ClassDataSettings, ClassLossSettings
from nlp_app.config.common import Count, FilePath, LoopSettings, Number, Positive, Rate, Settings, Share, Table
from nlp_app.config.tagging import TaggingDataSettings


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
