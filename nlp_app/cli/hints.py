"""Hints for options that do not exist but are settings: `--epochs 3` is `--set train.epochs=3`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import click

# Common names of settings in other programs.
_SYNONYMS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "batch_size": ("batch_tokens", "batch_texts", "batch_subwords"),
        "lr": ("learning_rate",),
        "max_epochs": ("epochs",),
        "model": ("pretrained",),
        "model_name_or_path": ("pretrained",),
        "num_epochs": ("epochs",),
        "num_train_epochs": ("epochs",),
        "per_device_train_batch_size": ("batch_tokens", "batch_texts", "batch_subwords"),
        "dropout": ("hidden_dropout",),
        "warmup": ("warmup_ratio",),
    }
)


def settings_hint(error: click.NoSuchOption, arguments: Sequence[str]) -> str:
    """Name the setting that an unknown option stands for.

    Args:
        error: The error of an unknown option.
        arguments: The arguments of the command line, which may hold a value of the option.

    Returns:
        A sentence such as `use --set train.epochs=3`; empty if there is no setting of this name, or if the command has
        no `--set`.
    """
    command = None if error.ctx is None else error.ctx.command
    if command is None or not any(parameter.name == "changes" for parameter in command.params):
        return ""
    name = error.option_name.lstrip("-").replace("-", "_")
    known = _known_settings(str(error.ctx.command_path if error.ctx is not None else "").split())
    for wanted in ((name,), _SYNONYMS.get(name, ())):
        found = sorted(setting for setting in known if setting.partition(".")[2] in wanted)
        if found:
            value = _value(error.option_name, arguments)
            return " or ".join(f"--set {setting}={value}" for setting in found)
    return ""


def _known_settings(words: Sequence[str]) -> set[str]:
    """Return the settings of a command, as `table.key`; commands that don't train have those of [data] only."""
    from nlp_app.config.kinds import KINDS  # noqa: PLC0415

    tasks = [word for word in words if word in KINDS] or list(KINDS)
    trains = any(word in ("train", "distill") for word in words)
    return {
        f"{table}.{key}"
        for task in tasks
        for kind in KINDS[task].values()
        for table, field in kind.model_fields.items()
        if trains or table == "data"
        for key in getattr(field.annotation, "model_fields", {})
    }


def _value(option: str, arguments: Sequence[str]) -> str:
    """Return the value that follows the option, or a placeholder."""
    for number, word in enumerate(arguments):
        if word.startswith(f"{option}="):
            return word.partition("=")[2]
        if word == option and number + 1 < len(arguments) and not arguments[number + 1].startswith("-"):
            return arguments[number + 1]
    return "VALUE"
