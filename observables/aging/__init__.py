"""The exponent of aging is computed here, with the relaxation times and collapses that go with it."""

from .exponent import aging_exponent, relaxation_times
from .rescaling import aging_collapse
from .thresholds import exponent_by_threshold

__all__ = ["aging_collapse", "aging_exponent", "exponent_by_threshold", "relaxation_times"]
