"""Settings: what a run may be told, in a TOML file and on the command line."""

from __future__ import annotations

from nlp_app.config.classification import (
    ClassDataSettings,
    ClassifierSettings,
    ClassLoopSettings,
    ClassLossSettings,
    ClassSettings,
)
from nlp_app.config.common import DataSettings, LoopSettings, Settings
from nlp_app.config.distillation import DistilledClassSettings, DistilledTaggingSettings, DistillSettings
from nlp_app.config.kinds import KINDS
from nlp_app.config.loading import (
    change_settings,
    read_settings,
    read_task_settings,
    read_toml,
    validate,
    with_bundle,
    write_settings,
)
from nlp_app.config.renamed import RENAMED
from nlp_app.config.tagging import TaggerSettings, TaggingDataSettings, TaggingLoopSettings, TaggingSettings
from nlp_app.config.transformers import (
    TransformerClassLoopSettings,
    TransformerClassSettings,
    TransformerLoopSettings,
    TransformerModelSettings,
    TransformerTaggerSettings,
    TransformerTaggingLoopSettings,
    TransformerTaggingSettings,
)

__all__ = [
    "KINDS",
    "RENAMED",
    "ClassDataSettings",
    "ClassLoopSettings",
    "ClassLossSettings",
    "ClassSettings",
    "ClassifierSettings",
    "DataSettings",
    "DistillSettings",
    "DistilledClassSettings",
    "DistilledTaggingSettings",
    "LoopSettings",
    "Settings",
    "TaggerSettings",
    "TaggingDataSettings",
    "TaggingLoopSettings",
    "TaggingSettings",
    "TransformerClassLoopSettings",
    "TransformerClassSettings",
    "TransformerLoopSettings",
    "TransformerModelSettings",
    "TransformerTaggerSettings",
    "TransformerTaggingLoopSettings",
    "TransformerTaggingSettings",
    "change_settings",
    "read_settings",
    "read_task_settings",
    "read_toml",
    "validate",
    "with_bundle",
    "write_settings",
]
