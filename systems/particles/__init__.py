"""Particles with pair potentials in a periodic box: structural glass formers."""

from .model import KobAndersen, Mixture

__all__ = ["KobAndersen", "Mixture"]
