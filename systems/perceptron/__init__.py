"""The spherical perceptron: the simplest model of jamming, by Langevin dynamics."""

from .model import SphericalPerceptron

__all__ = ["SphericalPerceptron"]
