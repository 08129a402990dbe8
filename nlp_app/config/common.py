"""Types and settings that both tasks share."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

Share = Annotated[float, Field(ge=0.0, lt=1.0)]

Rate = Annotated[float, Field(ge=0.0, le=1e30)]  # far larger numbers overflow single precision

Positive = Annotated[float, Field(gt=0.0, le=1e30)]

Count = Annotated[int, Field(ge=1)]

Number = Annotated[int, Field(ge=0)]

Range = Annotated[
    str, Field(pattern=r"^$|^[1-9](-[1-9])?$")
]  # shortest and longest length, such as 1-2; empty for none

FilePath = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # the operating system forbids NUL in a path


def _split_names(value: object) -> object:
    """Accept a list, or a string of names separated by commas from the command line."""
    if isinstance(value, str):
        return [name for name in map(str.strip, value.split(",")) if name]
    return value


NameList = Annotated[list[FilePath], BeforeValidator(_split_names)]


class SettingsTable(BaseModel):
    """A table of a settings file. Unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(SettingsTable):
    """The table [data]: the data files.

    Attributes:
        BUNDLE: Path of the bundled corpus, with a placeholder for train, dev or test.
    """

    BUNDLE: ClassVar[str]

    train: FilePath = ""
    dev: FilePath = ""
    test: FilePath = ""
    dev_share: Share = 0.1
    encoding: str = "auto"
    tokenizer: Literal["auto", "basic", "char", "whitespace"] = "auto"
    lower_case: bool = True


class TrainSettings(SettingsTable):
    """The table [train]: optimization and checkpoints.

    Attributes:
        UPDATES: Number of optimizer steps to reach if `epochs` is 0. Small data needs more epochs than large data.
        FEWEST_EPOCHS: Smallest number of epochs if `epochs` is 0.
        MOST_EPOCHS: Largest number of epochs if `epochs` is 0.
    """

    UPDATES: ClassVar[int] = 700
    FEWEST_EPOCHS: ClassVar[int] = 4
    MOST_EPOCHS: ClassVar[int] = 30

    engine: Literal["loop", "trainer"] = "loop"
    epochs: Number = 0
    gradient_accumulation_steps: Count = 1
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: Positive = 2e-3
    weight_decay: Rate = 0.01
    momentum: Share = 0.9
    lr_schedule: Literal["constant", "linear", "cosine", "step", "plateau"] = "linear"
    warmup_ratio: Share = 0.05
    lr_decay_factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    lr_step_epochs: Count = 5
    max_grad_norm: Rate = 0.0
    precision: Literal["auto", "no", "bf16", "fp16"] = "no"
    patience: Number = 0
    eval_every_epochs: Number = 1
    checkpoint_seconds: Rate = 20.0
    ema_decay: Share = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 42
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    deterministic: bool = False


class TrackSettings(SettingsTable):
    """The table [track]: records of a run in addition to `history.jsonl`."""

    plots: bool = True
    tensorboard: bool = False


class Settings(SettingsTable):
    """Settings that all tasks share."""

    data: DataSettings = DataSettings()
    model: SettingsTable = SettingsTable()
    train: TrainSettings = TrainSettings()
    track: TrackSettings = TrackSettings()
