"""Fits and extrapolations stand here."""
