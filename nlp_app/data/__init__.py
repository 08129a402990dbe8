"""Corpora and splits for training and evaluation."""
