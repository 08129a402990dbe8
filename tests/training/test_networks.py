"""The table of networks that can be trained."""

from __future__ import annotations

import inspect

import pytest

from nlp_app.config import DistilledClassificationSettings, DistilledTaggingSettings, Settings
from nlp_app.config.kinds import KINDS
from nlp_app.training.networks import PREPARE, load_prepare

SETTINGS = {kind for kinds in KINDS.values() for kind in kinds.values()} | {
    DistilledTaggingSettings,
    DistilledClassificationSettings,
}


def test_each_class_of_settings_has_a_row() -> None:
    assert set(PREPARE) == SETTINGS


@pytest.mark.parametrize("settings", sorted(PREPARE, key=lambda each: each.__name__), ids=lambda each: each.__name__)
def test_each_row_names_a_function_for_these_settings(settings: type[Settings]) -> None:
    parameters = inspect.signature(load_prepare(settings)).parameters
    assert parameters["settings"].annotation == settings.__name__
    taggers = ["initial_model"] if "Tagging" in settings.__name__ else []
    assert list(parameters) == ["settings", "data", "progress", *taggers]
