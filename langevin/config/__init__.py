"""Run files become validated settings here; systems declare their keys with these classes."""

from __future__ import annotations

from .keys import DynamicsKeys, Section, key
from .sections import LangevinDynamics, RecordKeys

__all__ = ["DynamicsKeys", "LangevinDynamics", "RecordKeys", "Section", "key"]
