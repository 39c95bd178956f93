"""Spectra, planes and barriers of energy landscapes are computed here."""
