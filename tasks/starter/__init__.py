"""Starter: a recipe for files as they are: how they are read, which filters fit, and how that is written down."""
