"""Curves between two configurations of any model, as systems that descend under the same engine."""

from .band import Band
from .model import Curve
from .profile import barrier, profile

__all__ = ["Band", "Curve", "barrier", "profile"]
