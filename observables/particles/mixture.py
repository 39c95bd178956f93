"""A mixture of particles in a periodic cubic box is described here, as attributes of a file tell it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr


@dataclass(frozen=True)
class BoxedMixture:
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
        """Check box, counts, wavenumbers and species."""
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
    def of(cls, configuration: xr.DataArray) -> BoxedMixture:
        """Return the mixture that the attributes of a file's `configuration` describe.

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
            # netCDF makes a single number of a list of one.
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
        """Return the particles that a name stands for: "all", and each species if there are several."""
        slices = {"all": slice(0, self.size)}
        if len(self.names) > 1:
            ends = np.cumsum((0, *self.counts)).tolist()
            slices |= {n: slice(a, b) for n, (a, b) in zip(self.names, pairwise(ends), strict=True)}
        return slices

    @property
    def endings(self) -> dict[str, str]:
        """Return the endings of variables' names and their species: "" the tagged; "_A", "_B", and "_all"."""
        others = {f"_{name}": name for name in self.groups if not name == self.tagged == "all"}
        return {"": self.tagged, **others}

    @property
    def pairs(self) -> dict[str, tuple[int, int]]:
        """Return the pairs of species, such as AA, AB, BB, and which species make them."""
        count = len(self.names)
        return {self.names[a] + self.names[b]: (a, b) for a in range(count) for b in range(a, count)}
