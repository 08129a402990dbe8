"""Predict on files of any size: in chunks, with several processes, and with a journal to resume from."""

from __future__ import annotations

from nlp_app.inference.files.job import predict_file
from nlp_app.inference.files.job_options import InputFile, JobOptions, check_job_options
from nlp_app.inference.files.output_lines import PredictionOptions
from nlp_app.inference.files.workers import ModelLocation

__all__ = ["InputFile", "JobOptions", "ModelLocation", "PredictionOptions", "check_job_options", "predict_file"]
