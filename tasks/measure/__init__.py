"""Measure: what a shard's text tells, once a kind of signal, whatever a recipe's thresholds are."""
