"""Bytes: stores, the layout of a published corpus, the commit."""
