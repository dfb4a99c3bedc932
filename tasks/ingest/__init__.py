"""Ingest: find source files, read them into shards, normalise and mask their text on the way."""
