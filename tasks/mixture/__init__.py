"""Mixture: how much of each kind a version holds, which documents these are, and the proof of it."""
