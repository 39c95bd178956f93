"""Slopes, ratios, extrapolations and curves side by side are fitted here, with the errors of few samples."""

from .curves import Aligned, MeasuredCurve, NothingInCommon, align
from .extrapolation import Fit, extrapolate, extrapolate_both, least_squares
from .freedom import as_normal, combined, expected_rms, two_sided
from .ratios import RatioCovariance, fieller

__all__ = [
    "Aligned",
    "Fit",
    "MeasuredCurve",
    "NothingInCommon",
    "RatioCovariance",
    "align",
    "as_normal",
    "combined",
    "expected_rms",
    "extrapolate",
    "extrapolate_both",
    "fieller",
    "least_squares",
    "two_sided",
]
