"""Shards of a version for readers that deal files to ranks: equal, mixed, epochs unrolled."""

from cuvee.export.shards import Plan, export

__all__ = ["Plan", "export"]
