"""The spherical p-spin model for N → ∞, by the Cugliandolo-Kurchan equations."""

from .system import CugliandoloKurchan

__all__ = ["CugliandoloKurchan"]
