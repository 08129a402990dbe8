"""Settings: TOML files and `--set`."""

from __future__ import annotations

from contextlib import suppress

from fuzz.choices import Choices
from fuzz.folder import file_of
from nlp_app.config import change_settings, read_settings, read_task_settings, with_bundled_corpus, write_settings
from nlp_app.config.common import DataSettings
from nlp_app.config.kinds import KINDS
from nlp_app.core.errors import NlpAppError, SettingsError


def settings(data: bytes) -> None:
    """A file and changes: settings that come back from what is written of them, or a SettingsError of one line."""
    choices = Choices(data)
    task = choices.pick(tuple(KINDS))
    changes = [choices.part().decode("utf-8", "surrogateescape") for _ in range(choices.number(4))]
    path = file_of("settings.toml", choices.rest())
    try:
        found = read_task_settings(task, path, changes)
        again = file_of("again.toml", write_settings(found).encode("utf-8", "surrogatepass"))
        assert read_settings(type(found), again) == found
    except SettingsError as error:
        assert "\n" not in " ".join(str(error).split())
        return
    with suppress(NlpAppError):
        assert isinstance(found.data, DataSettings)
        with_bundled_corpus(found.data)
    with suppress(NlpAppError):
        change_settings(type(found), found.model_dump(), changes, only="data")
