"""The landscape is described here: Hessians and their spectra, barriers along curves, planes."""

from .barriers import Barrier, MeanBarrier, barrier_in_words, mean_barrier
from .eigenvectors import Eigenvectors, part_in_span
from .hessian import Operator, Spectrum, spectrum
from .planes import Plane
from .random_directions import random_direction
from .spectra import gauss_newton, has_spectrum, spectral_density, subspace_overlap

__all__ = [
    "Barrier",
    "Eigenvectors",
    "MeanBarrier",
    "Operator",
    "Plane",
    "Spectrum",
    "barrier_in_words",
    "gauss_newton",
    "has_spectrum",
    "mean_barrier",
    "part_in_span",
    "random_direction",
    "spectral_density",
    "spectrum",
    "subspace_overlap",
]
