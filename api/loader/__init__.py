"""A version as a trainer reads it: strata mixed, copies spread, and resumable at any batch."""

from cuvee.loader.loader import Loader

__all__ = ["Loader"]
