"""Settings of a run, from a TOML file and the command line.

The files in `configs/` list all settings with their meaning, unit and range.
"""

from __future__ import annotations

from nlp_app.config.classification import (
    ClassificationDataSettings,
    ClassificationLossSettings,
    ClassificationSettings,
    ClassificationTrainSettings,
    ClassifierModelSettings,
)
from nlp_app.config.common import DataSettings, Settings, TrainSettings
from nlp_app.config.distillation import DistilledClassificationSettings, DistilledTaggingSettings, DistillSettings
from nlp_app.config.kinds import KINDS
from nlp_app.config.loading import (
    change_settings,
    read_settings,
    read_task_settings,
    read_toml,
    validate,
    with_bundled_corpus,
    write_settings,
)
from nlp_app.config.renamed import RENAMED
from nlp_app.config.tagging import TaggerModelSettings, TaggingDataSettings, TaggingSettings, TaggingTrainSettings
from nlp_app.config.transformers import (
    TransformerClassificationSettings,
    TransformerClassificationTrainSettings,
    TransformerModelSettings,
    TransformerTaggerModelSettings,
    TransformerTaggingSettings,
    TransformerTaggingTrainSettings,
    TransformerTrainSettings,
)

__all__ = [
    "KINDS",
    "RENAMED",
    "ClassificationDataSettings",
    "ClassificationLossSettings",
    "ClassificationSettings",
    "ClassificationTrainSettings",
    "ClassifierModelSettings",
    "DataSettings",
    "DistillSettings",
    "DistilledClassificationSettings",
    "DistilledTaggingSettings",
    "Settings",
    "TaggerModelSettings",
    "TaggingDataSettings",
    "TaggingSettings",
    "TaggingTrainSettings",
    "TrainSettings",
    "TransformerClassificationSettings",
    "TransformerClassificationTrainSettings",
    "TransformerModelSettings",
    "TransformerTaggerModelSettings",
    "TransformerTaggingSettings",
    "TransformerTaggingTrainSettings",
    "TransformerTrainSettings",
    "change_settings",
    "read_settings",
    "read_task_settings",
    "read_toml",
    "validate",
    "with_bundled_corpus",
    "write_settings",
]
