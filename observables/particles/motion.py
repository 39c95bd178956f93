r"""Observables of particles in a periodic cubic box, in three dimensions: how they move, how they are packed.

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

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from ..pairs import over_pairs
from .structure import pair_correlation, positions

__all__ = [
    "ATTRIBUTES",
    "Mixture",
    "are_in",
    "compare",
    "coordinates",
    "dimensions",
    "pair_correlation",
    "positions",
    "two_time",
    "variables",
]

Array = NDArray[np.float64]

_LENGTH, _ENERGY = "sigma_AA", "epsilon_AA"
_CLOCK = f"{_LENGTH}^2/{_ENERGY}"

#: netCDF attributes of what this module makes, and of the units that go with it (friction 1, k_B = 1, A the
#: first species). `variables` adds those that depend on the mixture.
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


@dataclass(frozen=True)
class Mixture:
    """Particles of one or more species in a cubic box.

    Attributes
    ----------
    box : float
        Edge L of the periodic box.
    names : tuple of str
        Species, in the order in which their particles stand.
    counts : tuple of int
        Particles of each.
    wavenumbers : tuple of float
        k of the scattering function, in units of 1/length; the first is that of `correlation`.
    overlap_distance : float
        a of the self-overlap, a length.
    tagged : str
        Whose motion the plain names mean, such as `msd`: "all", or a species (if there are several).
    """

    box: float
    names: tuple[str, ...]
    counts: tuple[int, ...]
    wavenumbers: tuple[float, ...] = (7.25,)
    overlap_distance: float = 0.3
    tagged: str = "all"

    def __post_init__(self) -> None:
        """Check what every function here relies on."""
        if not self.box > 0:
            raise ValueError(f"box = {self.box}: must be > 0 (edge of the cubic box)")
        if not self.names or len(self.names) != len(self.counts) or min(self.counts) < 1:
            raise ValueError(
                f"names = {self.names}, counts = {self.counts}: needed: a count ≥ 1 for each name"
            )
        if not self.wavenumbers or not min(self.wavenumbers) > 0:
            raise ValueError(f"wavenumbers = {self.wavenumbers}: needed: one or more, all > 0")
        if self.tagged not in self.groups:
            raise ValueError(f"tagged = {self.tagged!r}: allowed: {', '.join(self.groups)}")

    @classmethod
    def of(cls, configuration: xr.DataArray) -> Mixture:
        """Return what the attributes of a file's `configuration` say.

        Raises
        ------
        ValueError
            If they do not describe particles in a box.
        """
        about = configuration.attrs
        if missing := {"box", "species_names", "species_counts"} - set(about):
            raise ValueError(f"configuration: no particles in a box: it lacks {', '.join(sorted(missing))}")
        further: dict[str, Any] = {}
        if "wavenumbers" in about:
            # A single number is what netCDF makes of a list of one.
            further["wavenumbers"] = tuple(map(float, np.atleast_1d(about["wavenumbers"])))
        if "overlap_distance" in about:
            further["overlap_distance"] = float(about["overlap_distance"])
        if "tagged" in about:
            further["tagged"] = str(about["tagged"])
        counts = tuple(map(int, np.atleast_1d(about["species_counts"])))
        return cls(float(about["box"]), tuple(str(about["species_names"]).split()), counts, **further)

    def attributes(self) -> dict[str, Any]:
        """Return the attributes of `configuration` from which `of` makes this mixture."""
        return {
            "box": self.box,
            "species_names": " ".join(self.names),
            "species_counts": list(self.counts),
            "wavenumbers": list(self.wavenumbers),
            "overlap_distance": self.overlap_distance,
            "tagged": self.tagged,
            "ordering": "degree of freedom 3 i + c is coordinate c of particle i, unwrapped; "
            "particles stand by species",
        }

    @property
    def size(self) -> int:
        """Number N of all particles."""
        return sum(self.counts)

    @property
    def groups(self) -> dict[str, slice]:
        """Return which particles a name stands for: "all", and each species if there are several."""
        found = {"all": slice(0, self.size)}
        if len(self.names) > 1:
            ends = np.cumsum((0, *self.counts)).tolist()
            found |= {n: slice(a, b) for n, (a, b) in zip(self.names, pairwise(ends), strict=True)}
        return found

    @property
    def endings(self) -> dict[str, str]:
        """Return how names of variables end, and whose they are: "" the tagged; "_A", "_B", and "_all"."""
        others = {f"_{name}": name for name in self.groups if not name == self.tagged == "all"}
        return {"": self.tagged, **others}

    @property
    def pairs(self) -> dict[str, tuple[int, int]]:
        """Return the pairs of species, such as AA, AB, BB, and which species make them."""
        count = len(self.names)
        return {self.names[a] + self.names[b]: (a, b) for a in range(count) for b in range(a, count)}


def are_in(configuration: xr.DataArray) -> bool:
    """Say whether stored configurations are positions of particles, as their attributes tell."""
    return "species_counts" in configuration.attrs


def compare(mixture: Mixture, reference: Array, x: Array) -> dict[str, Array]:
    """Return the two-time observables between two configurations.

    Parameters
    ----------
    mixture : Mixture
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
    found: dict[str, Array] = {}
    groups = mixture.groups
    for suffix, name in mixture.endings.items():
        group = groups[name]
        msd = squared[:, group].mean(axis=1)
        found[f"msd{suffix}"] = msd
        found[f"correlation{suffix}"] = scattering[0][:, group].mean(axis=1)
        found[f"self_overlap{suffix}"] = inside[:, group].mean(axis=1)
        found[f"non_gaussian{suffix}"] = _non_gaussian(squared[:, group], msd)
    if len(mixture.wavenumbers) > 1:
        rows = [[values[:, group].mean(axis=1) for values in scattering] for group in groups.values()]
        found["self_scattering"] = np.moveaxis(np.array(rows), -1, 0)
    return found


def _squared_displacements(mixture: Mixture, reference: Array, x: Array) -> Array:
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


def variables(mixture: Mixture) -> dict[str, dict[str, Any]]:
    """Return the netCDF attributes of every variable that a run of this mixture may measure.

    `ATTRIBUTES`, those of each species, and what follows from the mixture: k, a, and the mobility 1/N of the
    centre of mass, which the response has and the displacements lack.
    """
    made = {name: dict(about) for name, about in ATTRIBUTES.items()}
    made["correlation"]["wavenumber"] = mixture.wavenumbers[0]
    made["self_overlap"]["overlap_distance"] = mixture.overlap_distance
    made["integrated_response"]["centre_of_mass_mobility"] = 1 / mixture.size
    made["configuration"] |= mixture.attributes()
    moving = {name: made[name] for name in ("msd", "correlation", "self_overlap", "non_gaussian")}
    for suffix, species in mixture.endings.items():
        of = "" if len(mixture.names) == 1 or species == "all" else f" of {species}"
        for name, about in moving.items():
            made[name + suffix] = {**about, "long_name": about["long_name"] + of, "species": species}
    # A field acts on every particle.
    made["integrated_response"]["conjugate"] = "msd" if mixture.tagged == "all" else "msd_all"
    return made


def dimensions(mixture: Mixture) -> dict[str, tuple[str, ...]]:
    """Return the further dimensions of observables of particles, as `System.dimensions` wants them."""
    several = {"self_scattering": ("species", "wavenumber")} if len(mixture.wavenumbers) > 1 else {}
    return {"pair_correlation": ("pair", "distance"), **several}


def coordinates(mixture: Mixture, edges: Array | None = None) -> dict[str, tuple[str, Any, dict[str, Any]]]:
    """Return the coordinates along these dimensions, as `System.coordinates` wants them.

    Parameters
    ----------
    mixture : Mixture
    edges : ndarray, shape (bins + 1,), optional
        Of the shells of `pair_correlation`; without them there are no coordinates of it.
    """
    values: dict[str, Any] = {}
    if len(mixture.wavenumbers) > 1:
        values = {"species": np.array(list(mixture.groups)), "wavenumber": np.array(mixture.wavenumbers)}
    if edges is not None:
        values |= {"pair": np.array(list(mixture.pairs)), "distance": (edges[:-1] + edges[1:]) / 2}
    return {name: (name, found, dict(ATTRIBUTES[name])) for name, found in values.items()}


def two_time(configuration: xr.DataArray, waiting_times: Any, lags: Any, name: str = "msd") -> xr.DataArray:
    """Return a two-time observable of particles from stored configurations.

    Parameters
    ----------
    configuration : DataArray
        Dimensions configuration_time, replica, dof, with the attributes of a `Mixture`; may be lazy.
    waiting_times, lags : array_like, shape (waiting_time,) and (lag,)
    name : str
        One of those that `compare` returns.

    Returns
    -------
    DataArray
        Dimensions replica, waiting_time, lag, and for self_scattering species, wavenumber; NaN where t_w or
        t_w + t was not stored. Bitwise what a run with these configurations measures.

    Raises
    ------
    ValueError
        If the file holds no particles, or there is no such observable.
    """
    mixture = Mixture.of(configuration)
    nothing = np.zeros((1, 3 * mixture.size))
    if name not in (known := compare(mixture, nothing, nothing)):
        raise ValueError(f"name = {name!r}: allowed: {', '.join(known)}")
    axes = {"species": list(mixture.groups), "wavenumber": list(mixture.wavenumbers)}
    further = {dim: axes[dim] for dim in dimensions(mixture).get(name, ())}

    def pair(a: Array, b: Array) -> Array:
        return compare(mixture, a, b)[name]

    return over_pairs(configuration, waiting_times, lags, pair, name, further)
