"""Nouns: the types that are stored or exchanged. No I/O, no clock, no randomness."""
