"""Verbs: one file or folder a step, plain functions."""
