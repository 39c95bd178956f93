"""Run files become validated settings here; systems declare their keys with these classes."""

from __future__ import annotations

from .keys import DynamicsKeys, Section, key
from .sections import LangevinDynamics, RecordKeys
from .toml_text import UNSET

__all__ = ["UNSET", "DynamicsKeys", "LangevinDynamics", "RecordKeys", "Section", "key"]
