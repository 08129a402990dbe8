"""Settings: what a run may be told, in a TOML file and on the command line."""

from nlp_app.config.reading import change_settings, read_settings, read_toml, validate, write_settings
from nlp_app.config.tables import (
    ClassDataSettings,
    ClassifierSettings,
    ClassLoopSettings,
    ClassSettings,
    DataSettings,
    LoopSettings,
    Settings,
    TaggerSettings,
    TaggingDataSettings,
    TaggingLoopSettings,
    TaggingSettings,
)

__all__ = [
    "ClassDataSettings",
    "ClassLoopSettings",
    "ClassSettings",
    "ClassifierSettings",
    "DataSettings",
    "LoopSettings",
    "Settings",
    "TaggerSettings",
    "TaggingDataSettings",
    "TaggingLoopSettings",
    "TaggingSettings",
    "change_settings",
    "read_settings",
    "read_toml",
    "validate",
    "write_settings",
]
