"""Particles in a periodic box are analysed here."""
