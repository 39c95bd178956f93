"""Results side by side: any two files of the schema, or finite sizes extrapolated to N → ∞."""

from __future__ import annotations

from langevin.comparison.limit import extrapolate
from langevin.comparison.pairwise import compare, pair
from langevin.comparison.results import Comparison, Difference, Extrapolation, Summary, table

__all__ = [
    "Comparison",
    "Difference",
    "Extrapolation",
    "Summary",
    "compare",
    "extrapolate",
    "pair",
    "table",
]
