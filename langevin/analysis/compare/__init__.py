"""Results are set side by side: any two files of the schema, or finite sizes extrapolated to N → ∞."""

from __future__ import annotations

from .limit import extrapolate
from .pairwise import compare, pair
from .results import Comparison, Difference, Extrapolation, Summary, table

__all__ = ["Comparison", "Difference", "Extrapolation", "Summary", "compare", "extrapolate", "pair", "table"]
