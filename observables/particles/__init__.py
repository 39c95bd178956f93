"""Particles in a periodic box are analysed here: how they move, and how they are packed."""

from .mixture import BoxedMixture
from .motion import ATTRIBUTES, are_in, compare, coordinates, dimensions, two_time, variables
from .structure import pair_correlation, positions

__all__ = [
    "ATTRIBUTES",
    "BoxedMixture",
    "are_in",
    "compare",
    "coordinates",
    "dimensions",
    "pair_correlation",
    "positions",
    "two_time",
    "variables",
]
