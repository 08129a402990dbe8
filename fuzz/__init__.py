"""Coverage-guided fuzzing of whatever nlp_app reads: see docs/fuzzing.md."""
