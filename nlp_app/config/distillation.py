"""Settings of distillation."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nlp_app.config.classification import ClassificationSettings
from nlp_app.config.common import Count, FilePath, Number, SettingsTable, Share
from nlp_app.config.tagging import TaggingSettings


class DistillSettings(SettingsTable):
    """The table [distill]: the teacher, and the texts that the student learns from."""

    teacher: FilePath = ""
    unlabeled: FilePath = ""
    gold_weight: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    augmented_copies: Number = 6
    replacement_rate: Share = 0.3
    num_neighbors: Number = 15
    random_replacement_rate: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    min_count: Count = 3


class DistilledTaggingSettings(TaggingSettings):
    """All settings of a tagger that is trained by distillation."""

    distill: DistillSettings = DistillSettings()


class DistilledClassificationSettings(ClassificationSettings):
    """All settings of a classifier that is trained by distillation."""

    distill: DistillSettings = DistillSettings()
