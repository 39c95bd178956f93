r"""Motion of particles in a periodic cubic box is measured here, in three dimensions.

A configuration has the shape (R, 3N): degree of freedom 3i + c is coordinate c of particle i, particles stand
ordered by species, and positions are unwrapped, so that displacements need no box. With Δr_i the displacement
of particle i between t_w and t_w + t, less that of the centre of mass of all particles (Brownian dynamics
does not conserve it; it diffuses with T/N), and averages over all particles or those of one species,

    msd            Δ   = ⟨|Δr|²⟩                              (6 T t for free particles)
    correlation    F_s = ⟨sin(k|Δr|)/(k|Δr|)⟩                 (self-intermediate scattering function)
    self_overlap   Q   = ⟨θ(a − |Δr|)⟩
    non_gaussian   α₂  = 3⟨|Δr|⁴⟩/(5⟨|Δr|²⟩²) − 1             (0 for Gaussian displacements)

sin(kr)/(kr) is the average of exp(i k·Δr) over all directions of k. See W. Kob & H. C. Andersen, Phys. Rev. E
51, 4626 (1995) and 52, 4134 (1995), and for aging W. Kob & J.-L. Barrat, Phys. Rev. Lett. 78, 4581 (1997).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from ..pairs import over_pairs
from ..statistics import Array
from .mixture import BoxedMixture

_LENGTH, _ENERGY = "sigma_AA", "epsilon_AA"
_CLOCK = f"{_LENGTH}^2/{_ENERGY}"

#: netCDF attributes of the variables of this room, and of their axes (friction 1, k_B = 1, A the first
#: species). `variables` adds those that depend on the mixture.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "time": {"units": _CLOCK},
    "waiting_time": {"units": _CLOCK},
    "lag": {"units": _CLOCK},
    "energy": {"long_name": "energy per particle", "units": _ENERGY},
    "msd": {
        "long_name": "mean square displacement per particle",
        "units": f"{_LENGTH}^2",
        "symbol": r"$\Delta(t_w, t_w+t)$",
        "centre_of_mass": "its displacement is subtracted",
    },
    "correlation": {
        "long_name": "self-intermediate scattering function",
        "units": "1",
        "symbol": "$F_s(k; t_w, t_w+t)$",
        "kind": "self_intermediate_scattering",
    },
    "self_overlap": {
        "long_name": "self-overlap",
        "units": "1",
        "comment": "part of the particles that are displaced by less than a",
        "symbol": "$Q_s(t_w, t_w+t)$",
    },
    "non_gaussian": {
        "long_name": "non-Gaussian parameter",
        "units": "1",
        "symbol": r"$\alpha_2(t_w, t_w+t)$",
    },
    "self_scattering": {
        "long_name": "self-intermediate scattering function",
        "units": "1",
        "symbol": "$F_s(k; t_w, t_w+t)$",
    },
    "pair_correlation": {"long_name": "pair correlation function", "units": "1", "symbol": "$g(r)$"},
    "integrated_response": {
        "long_name": "integrated response per coordinate",
        "units": _CLOCK,
        "conjugate": "msd",
        "spatial_dimensions": 3,
        "theorem": "in equilibrium χ = msd/(2 d T) + t/N; the second term is the centre of mass, whose "
        "displacement is not in msd",
    },
    "configuration": {"long_name": "positions of the particles at every stop of the run", "units": _LENGTH},
    "species": {"long_name": "species"},
    "wavenumber": {"long_name": "wavenumber k", "units": f"1/{_LENGTH}"},
    "pair": {"long_name": "pair of species"},
    "distance": {"long_name": "distance r, middle of the shell", "units": _LENGTH},
}

#: kr below which sin(kr)/(kr) is 1 to the last bit; keeps 0/0 away.
_TINY = 1e-150


def are_in(configuration: xr.DataArray) -> bool:
    """Say whether stored configurations are positions of particles, as their attributes tell."""
    return "species_counts" in configuration.attrs


def compare(mixture: BoxedMixture, reference: Array, x: Array) -> dict[str, Array]:
    """Return the two-time observables between two configurations.

    Parameters
    ----------
    mixture : BoxedMixture
    reference, x : ndarray, shape (R, 3N)
        Unwrapped positions at t_w and at t_w + t.

    Returns
    -------
    dict
        msd, correlation, self_overlap and non_gaussian, shape (R,) each, of the tagged particles; with
        several species also of each, as ``msd_A``, and of all, as ``msd_all`` (unless these are tagged); with
        several wavenumbers also self_scattering, shape (R, species, wavenumber), where species begins with
        "all". α₂ of particles that have not moved is 0, the limit of short times: the first steps are
        Gaussian noise.
    """
    squared = _squared_displacements(mixture, reference, x)
    distance = np.sqrt(squared)
    scattering = [_sinc(k * distance) for k in mixture.wavenumbers]
    inside = distance < mixture.overlap_distance
    observables: dict[str, Array] = {}
    groups = mixture.groups
    for suffix, name in mixture.endings.items():
        group = groups[name]
        msd = squared[:, group].mean(axis=1)
        observables[f"msd{suffix}"] = msd
        observables[f"correlation{suffix}"] = scattering[0][:, group].mean(axis=1)
        observables[f"self_overlap{suffix}"] = inside[:, group].mean(axis=1)
        observables[f"non_gaussian{suffix}"] = _non_gaussian(squared[:, group], msd)
    if len(mixture.wavenumbers) > 1:
        rows = [[values[:, group].mean(axis=1) for values in scattering] for group in groups.values()]
        observables["self_scattering"] = np.moveaxis(np.array(rows), -1, 0)
    return observables


def _squared_displacements(mixture: BoxedMixture, reference: Array, x: Array) -> Array:
    """Return |Δr_i|², shape (R, N), without the displacement of the centre of mass."""
    if x.shape != reference.shape or x.shape[-1] != 3 * mixture.size:
        raise ValueError(
            f"configurations of shapes {reference.shape} and {x.shape}: needed: (R, {3 * mixture.size}) both"
        )
    # The difference first: positions are far larger than displacements. One layout, so that the order of
    # sums, and with it the last bit, is the same while running and from a file.
    moved = np.ascontiguousarray(x - reference).reshape(len(x), mixture.size, 3)
    moved -= moved.mean(axis=1, keepdims=True)
    moved *= moved
    return np.asarray(moved[..., 0] + moved[..., 1] + moved[..., 2])


def _sinc(kr: Array) -> Array:
    """Return sin(kr)/(kr) of kr ≥ 0."""
    kr = np.maximum(kr, _TINY)
    return np.asarray(np.sin(kr) / kr)


def _non_gaussian(squared: Array, msd: Array) -> Array:
    """Return α₂ of squared displacements, shape (R, N); 0 where nothing has moved."""
    moved = msd > 0
    # Divided first: fourth powers of short displacements underflow.
    ratio = squared / np.where(moved, msd, 1.0)[:, None]
    return np.where(moved, 0.6 * (ratio * ratio).mean(axis=1) - 1, 0.0)


def variables(mixture: BoxedMixture) -> dict[str, dict[str, Any]]:
    """Return the netCDF attributes of every variable that a run of this mixture may measure.

    These are `ATTRIBUTES`, those of each species, and numbers of the mixture: k, a, and the mobility 1/N of
    the centre of mass, which the response has and the displacements lack.
    """
    attributes = {name: dict(about) for name, about in ATTRIBUTES.items()}
    attributes["correlation"]["wavenumber"] = mixture.wavenumbers[0]
    attributes["self_overlap"]["overlap_distance"] = mixture.overlap_distance
    attributes["integrated_response"]["centre_of_mass_mobility"] = 1 / mixture.size
    attributes["configuration"] |= mixture.attributes()
    moving = {name: attributes[name] for name in ("msd", "correlation", "self_overlap", "non_gaussian")}
    for suffix, species in mixture.endings.items():
        of = "" if len(mixture.names) == 1 or species == "all" else f" of {species}"
        for name, about in moving.items():
            attributes[name + suffix] = {**about, "long_name": about["long_name"] + of, "species": species}
    # A field acts on every particle.
    attributes["integrated_response"]["conjugate"] = "msd" if mixture.tagged == "all" else "msd_all"
    return attributes


def dimensions(mixture: BoxedMixture) -> dict[str, tuple[str, ...]]:
    """Return the further dimensions of observables of particles, as `System.dimensions` wants them."""
    several = {"self_scattering": ("species", "wavenumber")} if len(mixture.wavenumbers) > 1 else {}
    return {"pair_correlation": ("pair", "distance"), **several}


def coordinates(
    mixture: BoxedMixture, edges: Array | None = None
) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Return the coordinates along these dimensions, as `System.coordinates` wants them.

    Parameters
    ----------
    mixture : BoxedMixture
    edges : ndarray, shape (bins + 1,), optional
        Edges of the shells of `pair_correlation`; without them it has no coordinates.
    """
    values: dict[str, Any] = {}
    if len(mixture.wavenumbers) > 1:
        values = {"species": np.array(list(mixture.groups)), "wavenumber": np.array(mixture.wavenumbers)}
    if edges is not None:
        values |= {"pair": np.array(list(mixture.pairs)), "distance": (edges[:-1] + edges[1:]) / 2}
    return {name: (name, along, dict(ATTRIBUTES[name])) for name, along in values.items()}


def two_time(configuration: xr.DataArray, waiting_times: Any, lags: Any, name: str = "msd") -> xr.DataArray:
    """Return a two-time observable of particles from stored configurations.

    Parameters
    ----------
    configuration : DataArray
        Dimensions configuration_time, replica, dof, with the attributes of a `BoxedMixture`; may be lazy.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)
    name : str
        One of those that `compare` returns.

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag, and for self_scattering species, wavenumber; NaN where t_w or
        t_w + t was not stored. Bitwise equal to the values of a run with these configurations.

    Raises
    ------
    ValueError
        If the file holds no particles, or there is no such observable.
    """
    mixture = BoxedMixture.of(configuration)
    nothing = np.zeros((1, 3 * mixture.size))
    if name not in (known := compare(mixture, nothing, nothing)):
        raise ValueError(f"name = {name!r}: allowed: {', '.join(known)}")
    axes = {"species": list(mixture.groups), "wavenumber": list(mixture.wavenumbers)}
    further = {dim: axes[dim] for dim in dimensions(mixture).get(name, ())}

    def pair(a: Array, b: Array) -> Array:
        return compare(mixture, a, b)[name]

    return over_pairs(configuration, waiting_times, lags, pair, name, further)
