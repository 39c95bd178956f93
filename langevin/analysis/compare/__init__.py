"""Results side by side: differences of the same quantities, a limit N → ∞, or curves of any systems."""

from __future__ import annotations

from .compared import Compared
from .limit import extrapolate
from .pairwise import compare, pair
from .results import Comparison, Difference, Extrapolation, Summary, table

__all__ = [
    "Compared",
    "Comparison",
    "Difference",
    "Extrapolation",
    "Summary",
    "compare",
    "extrapolate",
    "pair",
    "table",
]
