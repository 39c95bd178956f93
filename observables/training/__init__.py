"""The course of training is analysed here: its regimes, and the collapse by the gradient noise."""

from .noise_collapse import collapse, msd_over_noise
from .ramps import KneedRamp, Ramp, fit_kneed_ramp, fit_ramp
from .regimes import is_number, regimes, time_in_words

__all__ = [
    "KneedRamp",
    "Ramp",
    "collapse",
    "fit_kneed_ramp",
    "fit_ramp",
    "is_number",
    "msd_over_noise",
    "regimes",
    "time_in_words",
]
