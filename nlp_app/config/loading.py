"""Settings from a TOML file and `--set a.b=c`, validated, and back to TOML."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from nlp_app.config.common import DataSettings, Settings
from nlp_app.config.kinds import KINDS
from nlp_app.config.renamed import RENAMED
from nlp_app.core.errors import SettingsError, did_you_mean
from nlp_app.core.paths import bundled_path

S = TypeVar("S", bound=Settings)

D = TypeVar("D", bound=DataSettings)

_WIDEST = 200  # characters of a value that a message shows


def read_settings(
    kind: type[S], path: Path | None, changes: Sequence[str] = (), defaults: dict[str, Any] | None = None
) -> S:
    """The settings of a TOML file (None: `defaults`, a nested table), changed by `table.key=value` in order.

    `kind`: the task's class of settings.
    """
    place = "settings" if path is None else str(path)
    table: dict[str, Any] = dict(defaults or {}) if path is None else read_toml(path)
    for change in changes:
        _apply(kind, table, change)
    return validate(kind, table, place)


def read_task_settings(
    task: str, path: Path | None, changes: Sequence[str] = (), defaults: dict[str, Any] | None = None
) -> Settings:
    """`read_settings` of a task ("ner", "cls"), of the class that goes with `model.kind` in the file or the changes."""
    table = dict(defaults or {}) if path is None else read_toml(path)
    model = table.get("model")
    kinds = KINDS[task]
    kind = model.get("kind") if isinstance(model, dict) else None
    for change in changes:
        name, _, value = change.partition("=")
        kind = value.strip().strip("\"'") if name.strip() == "model.kind" else kind
    if kind is None:
        kind = next(iter(kinds))
    if not isinstance(kind, str) or kind not in kinds:
        hint = did_you_mean(str(kind), kinds)
        raise SettingsError(f"model.kind: found {kind!r}, expected one of {', '.join(kinds)}{hint}")
    return read_settings(kinds[kind], path, changes, defaults)


def change_settings(kind: type[S], table: dict[str, Any], changes: Sequence[str], only: str) -> S:
    """Settings of a nested table with changes, all of which have to be in the table named `only`."""
    for change in changes:
        if not change.strip().startswith(f"{only}."):
            raise SettingsError(f"--set {change}: here only settings of [{only}] have an effect")
        _apply(kind, table, change)
    return validate(kind, table, "settings")


def validate(kind: type[S], table: dict[str, Any], place: str) -> S:
    """Settings of a nested table; every problem is collected into one error."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(
            _problem(kind, [str(part) for part in item["loc"]], item["msg"], item.get("input"))
            for item in error.errors()
        )
        raise SettingsError(f"{place}: {problems}") from error


def with_bundled_corpus(settings: D) -> D:
    """The settings with the files of the bundled corpus, where they name none. Raises SettingsError where they name
    some, but none to train on."""
    if settings.train:
        return settings
    if settings.dev or settings.test:
        raise SettingsError("data.train: not given, though dev or test is; give --train FILE")
    files = {name: str(bundled_path(settings.BUNDLE.format(name))) for name in ("train", "dev", "test")}
    return settings.model_copy(update=files)


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


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file, not yet validated."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); give a TOML file such as configs/ner_bilstm_crf.toml"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is no TOMLDecodeError
        raise SettingsError(f"{path}: not TOML: {error}") from error


def _apply(kind: type[Settings], table: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) != 2 or not all(path):
        raise SettingsError(f"--set {change}: expected table.key=value, such as train.epochs=20")
    inner = table.setdefault(path[0], {})
    if not isinstance(inner, dict):
        raise SettingsError(f"--set {change}: `{path[0]}` is a value in the settings file, not a table")
    inner[path[1]] = _value(kind, path, text.strip())


def _value(kind: type[Settings], path: list[str], text: str) -> object:
    """The value as TOML reads it; as a string where the setting is one or where it isn't TOML (a path, a name)."""
    fields = _fields(kind, path[0])
    if path[1] in fields and isinstance(fields[path[1]].default, str):
        return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text
    try:
        table = tomllib.loads(f"value = {text}")
        return table["value"] if len(table) == 1 else text
    except (ValueError, RecursionError):
        return text


def _problem(kind: type[Settings], path: list[str], message: str, found: object) -> str:
    name = ".".join(path)
    if message.startswith("Extra inputs"):
        return f"unknown setting `{name}`{_nearest(kind, path)}"
    shown = repr(found)
    shown = shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]}..."
    return f"`{name}` is {shown}: {message[0].lower()}{message[1:]}"


def _nearest(kind: type[Settings], path: list[str]) -> str:
    known = list(kind.model_fields)
    if len(path) > 1:
        new = RENAMED.get(path[0], {}).get(path[1])
        if new is not None and new in _fields(kind, path[0]):
            return f", renamed to `{path[0]}.{new}`; use the new name"
        known = [f"{path[0]}.{key}" for key in _fields(kind, path[0])]
        # The right key in the wrong table is the commonest slip of all.
        elsewhere = [f"{table}.{path[1]}" for table in kind.model_fields if path[1] in _fields(kind, table)]
        if elsewhere:
            return f"; did you mean `{elsewhere[0]}`?"
    close = difflib.get_close_matches(".".join(path), known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(known)}"


def _fields(kind: type[Settings], table: str) -> dict[str, FieldInfo]:
    field = kind.model_fields.get(table)
    return dict(getattr(field.annotation, "model_fields", {})) if field else {}
