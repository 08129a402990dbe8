"""Files of any size through a model: in runs of records, by several processes, with a journal to resume from."""

from __future__ import annotations

from nlp_app.bulk.answers import Question
from nlp_app.bulk.plan import Input, Plan, check_plan
from nlp_app.bulk.run import run_file
from nlp_app.bulk.workers import ModelAt

__all__ = ["Input", "ModelAt", "Plan", "Question", "check_plan", "run_file"]
