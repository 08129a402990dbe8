"""Files of any size through a model: in runs of records, by several processes, with a journal to resume from."""

from __future__ import annotations

from nlp_app.inference.files.job import run_file
from nlp_app.inference.files.job_options import Input, Plan, check_plan
from nlp_app.inference.files.output_lines import Question
from nlp_app.inference.files.workers import ModelAt

__all__ = ["Input", "ModelAt", "Plan", "Question", "check_plan", "run_file"]
