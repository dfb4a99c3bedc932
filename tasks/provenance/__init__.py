"""Provenance: who wrote a text, by declaration, traces and a calibrated model."""
