"""Read settings from a TOML file and `--set a.b=c`, validate them, and write them as TOML."""

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

_WIDEST = 200  # characters of a value shown in a message


def read_settings(
    kind: type[S], path: Path | None, changes: Sequence[str] = (), defaults: dict[str, Any] | None = None
) -> S:
    """Read the settings of a run.

    Args:
        kind: The class of the settings.
        path: A TOML file; None to use `defaults`.
        changes: Changes of the form `table.key=value`, applied in order.
        defaults: Settings as a nested table, used without a file; None for the defaults of the class.

    Returns:
        The validated settings.

    Raises:
        SettingsError: The file can't be read, or settings or changes are invalid.

    Example:
        >>> settings = read_settings(TaggingSettings, None, ["train.epochs=20", "train.seed=7"])
        >>> settings.train.epochs
        20
    """
    place = "settings" if path is None else str(path)
    table: dict[str, Any] = dict(defaults or {}) if path is None else read_toml(path)
    for change in changes:
        _apply(kind, table, change)
    return validate(kind, table, place)


def read_task_settings(
    task: str, path: Path | None, changes: Sequence[str] = (), defaults: dict[str, Any] | None = None
) -> Settings:
    """Read the settings of a run whose kind of model is set in the file or in the changes.

    Args:
        task: "ner" for tagging or "cls" for classification.
        path: A TOML file; None to use `defaults`.
        changes: Changes of the form `table.key=value`, applied in order.
        defaults: Settings as a nested table, used without a file; None for the defaults of the class.

    Returns:
        The validated settings, of the class that belongs to `model.kind`.

    Raises:
        SettingsError: `model.kind` is unknown, the file can't be read, or settings or changes are invalid.
    """
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
    """Apply changes to a nested table of settings.

    Args:
        kind: The class of the settings.
        table: The settings; this table is modified.
        changes: Changes of the form `table.key=value`, applied in order.
        only: Name of the one table that may be changed.

    Returns:
        The validated settings.

    Raises:
        SettingsError: Settings or changes are invalid, or a change is in another table.
    """
    for change in changes:
        if not change.strip().startswith(f"{only}."):
            raise SettingsError(f"--set {change}: only settings of [{only}] can be changed here")
        _apply(kind, table, change)
    return validate(kind, table, "settings")


def validate(kind: type[S], table: dict[str, Any], place: str) -> S:
    """Validate a nested table of settings.

    Args:
        kind: The class of the settings.
        table: The settings.
        place: Name of their source, for the error message.

    Returns:
        The validated settings.

    Raises:
        SettingsError: Settings are invalid. The message lists all problems.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        problems = "; ".join(
            _problem(kind, [str(part) for part in item["loc"]], item["msg"], item.get("input"))
            for item in error.errors()
        )
        raise SettingsError(f"{place}: {problems}") from error


def with_bundled_corpus(settings: D) -> D:
    """Use the files of the bundled corpus if the settings name no files.

    Args:
        settings: The [data] settings.

    Returns:
        The same settings if they name a training file, otherwise a copy with the bundled files.

    Raises:
        SettingsError: The settings name a dev or test file, but no training file.
    """
    if settings.train:
        return settings
    if settings.dev or settings.test:
        raise SettingsError("data.train: not given, though dev or test is; give --train FILE")
    files = {name: str(bundled_path(settings.BUNDLE.format(name))) for name in ("train", "dev", "test")}
    return settings.model_copy(update=files)


def write_settings(settings: Settings) -> str:
    """Format settings as TOML.

    Args:
        settings: The settings.

    Returns:
        The content of a settings file. `read_settings` reads the same settings from it.
    """
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
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_toml(key)} = {_toml(each)}' for key, each in value.items())}}}"
    return repr(value)


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file without validating the settings.

    Args:
        path: The file, or the name of bundled settings (see `bundled_settings`); a file of this name comes first.

    Returns:
        The content as nested tables.

    Raises:
        SettingsError: The file can't be read, or is not valid TOML.
    """
    try:
        is_bundled = not path.exists() and str(path) in bundled_settings()
        return tomllib.loads(read_bundled_settings(str(path)) if is_bundled else path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(bundled_settings())
        raise SettingsError(
            f"{path}: can't be read ({error.strerror}); give a TOML file, or the name of bundled settings ({known})"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from error
    except (ValueError, RecursionError) as error:  # a number with thousands of digits raises a plain ValueError
        raise SettingsError(f"{path}: not TOML: {error}") from error


def bundled_settings() -> list[str]:
    """List the names of the bundled settings.

    Returns:
        The names, such as `ner_transformer`.
    """
    return sorted(path.stem for path in bundled_path("configs").glob("*.toml"))


def read_bundled_settings(name: str) -> str:
    """Read bundled settings.

    Args:
        name: A name of `bundled_settings`.

    Returns:
        The content of the TOML file.

    Raises:
        SettingsError: There are no settings of this name.
    """
    known = bundled_settings()
    if name not in known:
        raise SettingsError(f"config: found {name!r}, expected one of {', '.join(known)}{did_you_mean(name, known)}")
    return bundled_path(f"configs/{name}.toml").read_text(encoding="utf-8")


def _apply(kind: type[Settings], table: dict[str, Any], change: str) -> None:
    name, equals, text = change.partition("=")
    path = name.strip().split(".")
    if not equals or len(path) != 2 or not all(path):
        raise SettingsError(f"--set {change}: expected table.key=value, for example train.epochs=20")
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


def _problem(kind: type[Settings], path: list[str], message: str, value: object) -> str:
    name = ".".join(path)
    if message.startswith("Extra inputs"):
        return f"unknown setting `{name}`{_suggestion(kind, path)}"
    shown = repr(value)
    shown = shown if len(shown) <= _WIDEST else f"{shown[:_WIDEST]}..."
    return f"`{name}` is {shown}: {message[0].lower()}{message[1:]}"


def _suggestion(kind: type[Settings], path: list[str]) -> str:
    known = list(kind.model_fields)
    if len(path) > 1:
        new = RENAMED.get(path[0], {}).get(path[1])
        if new is not None and new in _fields(kind, path[0]):
            return f", renamed to `{path[0]}.{new}`; use the new name"
        known = [f"{path[0]}.{key}" for key in _fields(kind, path[0])]
        others = [config for config, fields in _bundled_fields(kind, path[0]).items() if path[1] in fields]
        # The most common mistake is the right key in the wrong table.
        elsewhere = [f"{table}.{path[1]}" for table in kind.model_fields if path[1] in _fields(kind, table)]
        if elsewhere:
            return f"; did you mean `{elsewhere[0]}`?"
        if others:
            return f", which is for another kind of model; use --config {others[0]}"
    close = difflib.get_close_matches(".".join(path), known, n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else f"; known here: {', '.join(known)}"


def _bundled_fields(kind: type[Settings], table: str) -> dict[str, list[str]]:
    """Return the keys of a table in each of the bundled settings for the same task."""
    task = next((task for task, kinds in KINDS.items() if kind in kinds.values()), "")
    names = [name for name in bundled_settings() if name.startswith(f"{task}_")]
    loaded = {name: tomllib.loads(read_bundled_settings(name)) for name in names}
    return {name: list(content.get(table, {})) for name, content in loaded.items()}


def _fields(kind: type[Settings], table: str) -> dict[str, FieldInfo]:
    field = kind.model_fields.get(table)
    return dict(getattr(field.annotation, "model_fields", {})) if field else {}
