"""The spherical p-spin model by finite-N Langevin dynamics."""

from .model import PSpin

__all__ = ["PSpin"]
