"""Settings: a TOML file and `--set a.b=c`, validated into frozen values. Only the command line and a run read them.

Every default stands here and, with comments, in `configs/*.toml`; a test keeps the two equal.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from nlp_app.errors import SettingsError

Share = Annotated[float, Field(ge=0.0, lt=1.0)]
Rate = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
FilePath = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # the system takes no NUL in a path


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class DataSettings(_Table):
    """[data]: the files, and how to read them."""

    train: FilePath = ""
    dev: FilePath = ""
    test: FilePath = ""
    dev_share: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    format: Literal["auto", "conll", "conllu", "jsonl", "brat", "text"] = "auto"
    scheme: str = "auto"
    encoding: str = "auto"
    separator: Literal["auto", "tab", "space"] = "auto"
    token_column: Annotated[int, Field(ge=0)] = 0
    tag_column: Annotated[int, Field(ge=-1)] = -1
    token_pattern: str = ""
    column: str = "upos"
    tokenizer: Literal["auto", "basic", "char", "whitespace"] = "auto"
    lower_case: bool = True
    alignment: Literal["strict", "expand", "contract"] = "expand"
    strict: bool = False


class ModelSettings(_Table):
    """[model]: the network."""

    kind: Literal["bilstm_crf"] = "bilstm_crf"
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
    vectors: FilePath = ""
    train_vectors: bool = False


class TrainSettings(_Table):
    """[train]: the loop."""

    epochs: Annotated[int, Field(ge=0)] = 0
    batch_tokens: Count = 1024
    accumulation: Count = 1
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    rate: Annotated[float, Field(gt=0.0)] = 2e-3
    sparse_rate: Annotated[float, Field(gt=0.0)] = 1e-2
    crf_rate: Annotated[float, Field(gt=0.0)] = 2e-3
    weight_decay: Rate = 0.01
    momentum: Share = 0.9
    schedule: Literal["constant", "linear", "cosine", "step", "plateau"] = "linear"
    warmup: Share = 0.05
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.5
    step_epochs: Count = 5
    clip: Rate = 0.05
    precision: Literal["no", "bf16", "fp16"] = "no"
    patience: Annotated[int, Field(ge=0)] = 0
    ema: Share = 0.0
    seed: Annotated[int, Field(ge=0, lt=1 << 63)] = 42
    threads: Annotated[int, Field(ge=0, le=1024)] = 0


class Settings(_Table):
    """All settings of a `train ner` run."""

    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()


def read_settings(path: Path | None, changes: Sequence[str] = (), defaults: dict[str, Any] | None = None) -> Settings:
    """The settings of a TOML file (None: `defaults`, a nested table), changed by `table.key=value` in order."""
    place = "settings" if path is None else str(path)
    table: dict[str, Any] = dict(defaults or {}) if path is None else _read_toml(path)
    for change in changes:
        _apply(table, change)
    return validate(table, place)


def change_settings(table: dict[str, Any], changes: Sequence[str], only: str) -> Settings:
    """Settings of a nested table with changes, all of which have to be in the table named `only`."""
    for change in changes:
        if not change.strip().startswith(f"{only}."):
            raise SettingsError(f"--set {change}: here only settings of [{only}] have an effect")
        _apply(table, change)
    return validate(table, "settings")


def validate(table: dict[str, Any], place: str) -> Settings:
    """Settings of a nested table; every problem is collected into one error."""
    try:
        return Settings.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(
            _problem([str(part) for part in item["loc"]], item["msg"], item.get("input")) for item in error.errors()
        )
        raise SettingsError(f"{place}: {problems}") from error


def write_settings(settings: Settings) -> str:
    """The TOML text that `read_settings` reads back to the same settings."""
    lines: list[str] = []
    for name, table in settings:
        lines += [f"[{name}]", *(f"{key} = {_toml(value)}" for key, value in table), ""]
    return "\n".join(lines)


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = "".join(
            character if character.isprintable() and character not in '"\\' else f"\\U{ord(character):08X}"
            for character in value
        )
        return f'"{escaped}"'
    return repr(value)


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); give a TOML file such as configs/ner_bilstm_crf.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _apply(table: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) != 2 or not all(path):
        raise SettingsError(f"--set {change}: expected table.key=value, such as train.epochs=20")
    inner = table.setdefault(path[0], {})
    if not isinstance(inner, dict):
        raise SettingsError(f"--set {change}: `{path[0]}` is a value in the settings file, not a table")
    inner[path[1]] = _value(path, text.strip())


def _value(path: list[str], text: str) -> object:
    """The value as TOML reads it; as a string where the setting is one or where it isn't TOML (a path, a name)."""
    table = Settings.model_fields.get(path[0])
    fields = getattr(table.annotation, "model_fields", {}) if table else {}
    if path[1] in fields and isinstance(fields[path[1]].default, str):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _problem(path: list[str], message: str, found: object) -> str:
    name = ".".join(path)
    if message.startswith("Extra inputs"):
        return f"unknown setting `{name}`{_nearest(path)}"
    return f"`{name}` is {found!r}: {message[0].lower()}{message[1:]}"


def _nearest(path: list[str]) -> str:
    known = list(Settings.model_fields)
    if len(path) > 1:
        known = [f"{path[0]}.{key}" for key in _fields(path[0])]
        # The right key in the wrong table is the commonest slip of all.
        elsewhere = [f"{table}.{path[1]}" for table in Settings.model_fields if path[1] in _fields(table)]
        if elsewhere:
            return f"; did you mean `{elsewhere[0]}`?"
    close = difflib.get_close_matches(".".join(path), known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(known)}"


def _fields(table: str) -> list[str]:
    field = Settings.model_fields.get(table)
    return list(getattr(field.annotation, "model_fields", {})) if field else []
