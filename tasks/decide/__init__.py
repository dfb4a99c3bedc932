"""Decide: what becomes of every current row, from thin tables alone."""
