"""A comparison takes from a result file its curves, its name, its size, its settings."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from langevin.errors import UserError
from langevin.observables.fits.curves import MeasuredCurve
from langevin.observables.fits.freedom import combined
from langevin.observables.statistics import average
from langevin.observables.sufficiency import too_few
from langevin.results.kinds import ONE_TIME, TWO_TIME, has
from langevin.speech import option

#: Settings that say how long is watched, not what: files that differ in them are the same physics.
DURATION = {("dynamics", "t_max")}

#: Letters of a title that are kept.
LONGEST = 90

#: The key of the time step.
STEP = ("dynamics", "dt")

#: Below so many independent values an error bar is itself uncertain by more than a quarter.
FEW = 10


class Identity(NamedTuple):
    """What a variable is: its meaning (long_name, "" if it has none), its unit, its kind ("" if none)."""

    meaning: str
    unit: str
    kind: str


@dataclass(frozen=True)
class Curves:
    """The curves of one file, or of an extrapolation from several.

    Attributes
    ----------
    energy : MeasuredCurve or None
        None if there is no finite one.
    two_time : dict of float to MeasuredCurve
        The chosen two-time observable against lag, by waiting time.
    unreached : list of float
        Waiting times at which nothing is finite.
    source : str
        Path of the file.
    meanings : dict of str to str
        What the energy and the two-time observable are, with their unit unless it is 1.
    symbols : dict of str to str
        How a figure writes them, where the file says so.
    identities : dict of str to Identity
        What tells the energy and the two-time observable from others of the same name.
    time_unit : str
        Unit of time; "" if it is not known.
    along : str
        What the energy is a function of: "time", or of sweeps the number that is swept.
    words : str
        How a figure calls that number.
    lines : dict of str to float
        Energies that theory has at the last temperature (`langevin.plotting.final`).
    """

    label: str
    energy: MeasuredCurve | None
    two_time: dict[float, MeasuredCurve] = field(default_factory=dict)
    unreached: list[float] = field(default_factory=list)
    source: str = ""
    meanings: dict[str, str] = field(default_factory=dict)
    symbols: dict[str, str] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)
    time_unit: str = ""
    along: str = "time"
    words: str = ""
    lines: dict[str, float] = field(default_factory=dict)

    def alike(self, other: Curves, quantity: str) -> bool:
        """Return whether both mean one quantity by a name, in one unit, as far as they say."""
        first, second = (c.identities.get(quantity) for c in (self, other))
        if first is None or second is None:
            return True
        same = first.unit == second.unit and first.kind == second.kind
        return same and (not first.meaning or not second.meaning or first.meaning == second.meaning)


def curves(dataset: xr.Dataset, quantity: str | None, label: str) -> Curves:
    """Take the energy and, by waiting time, a two-time observable out of a dataset.

    UserError if times are negative or stand there twice.
    """
    energy = _curve(dataset, "energy", "time") if has(dataset, "energy", *ONE_TIME) else None
    two_time, unreached = {}, []
    if quantity is not None and has(dataset, quantity, *TWO_TIME):
        waiting = _times(dataset, "waiting_time")
        for w in sorted(waiting.tolist()):
            part = dataset.isel(waiting_time=int(np.flatnonzero(waiting == w)[0]))
            curve = _curve(part, quantity, "lag")
            if curve is None:
                unreached.append(w)
            else:
                two_time[w] = curve
    both = [name for name in ("energy", quantity) if name and name in dataset]
    meanings = {n: _meaning(dataset[n]) for n in both if {"long_name", "units"} & set(dataset[n].attrs)}
    symbols = {n: str(dataset[n].attrs["symbol"]) for n in both if "symbol" in dataset[n].attrs}
    identities = {name: identity(dataset[name]) for name in both}
    unit = str(dataset["time"].attrs.get("units", "1")) if "time" in dataset else ""
    return Curves(label, energy, two_time, unreached, source(dataset), meanings, symbols, identities, unit)


def identity(values: xr.DataArray) -> Identity:
    """Return what a file says of a variable."""
    about = (("long_name", ""), ("units", "1"), ("kind", ""))
    return Identity(*(str(values.attrs.get(name, default)) for name, default in about))


def _meaning(values: xr.DataArray) -> str:
    unit = values.attrs.get("units", "1")
    return f"{values.attrs.get('long_name', values.name)}" + ("" if unit == "1" else f" ({unit})")


def _curve(dataset: xr.Dataset, name: str, dim: str) -> MeasuredCurve | None:
    """Return mean and error of a variable of dimensions (replica, dim); None if nothing is finite.

    The error is the standard error over n samples, of n − 1 degrees of freedom. A numerical solution has one
    replica and states its own error, in `name`_error, which is taken as known; where there are both they add
    in quadrature. An own error of kind "sampling" is that of a subset of examples, another for each replica:
    the scatter of several replicas holds it already, and of one it leaves out the seed.
    """
    _times(dataset, dim)
    # A point that some replica lacks is no average of all of them.
    values = dataset[name].sortby(dim).dropna(dim, how="any")
    if values.sizes[dim] == 0:
        return None
    mean, error = average(values)
    samples = int(error.attrs["samples"])
    freedom = np.full(values.sizes[dim], max(samples - 1.0, 1.0))
    stated = f"{name}_error"
    known = stated in dataset and dataset[stated].dims == dataset[name].dims
    if known and dataset[stated].attrs.get("kind") != "sampling":
        numerical = dataset[stated].sortby(dim).sel({dim: values[dim]}).mean("replica")
        scatter = error.fillna(0.0)
        error = (numerical**2 + scatter**2) ** 0.5
        freedom = combined(np.stack([scatter, numerical]) ** 2, np.stack([freedom, freedom + np.inf]))
    x, y, sigma = (np.asarray(array, dtype=float) for array in (values[dim], mean, error))
    return MeasuredCurve(x, y, sigma, freedom)


def _times(dataset: xr.Dataset, dim: str) -> NDArray[np.float64]:
    times = np.asarray(dataset[dim], dtype=float)
    if not (np.isfinite(times).all() and (times >= 0).all() and np.unique(times).size == times.size):
        raise UserError(f"{source(dataset)}: {dim} must hold finite values ≥ 0, each once")
    return times


def source(dataset: xr.Dataset) -> str:
    """Return the path that a dataset was opened from; "dataset" for one made in memory."""
    path = Path(dataset.encoding.get("source", "dataset"))
    # xarray keeps the absolute path; a user knows the file by the shorter one.
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def labels(datasets: Sequence[xr.Dataset]) -> list[str]:
    """Return a name for each file: its title, or its file name where titles repeat; N where it varies."""
    sizes = [size(dataset) for dataset in datasets]
    vary = len({n for n in sizes if n is not None}) > 1
    suffix = [f", N = {n:g}" if vary and n is not None else "" for n in sizes]
    titles = [str(dataset.attrs.get("title", "")).strip() for dataset in datasets]
    stems = [Path(source(dataset)).stem for dataset in datasets]
    for names in (titles, stems, [source(dataset) for dataset in datasets]):
        candidates = [
            textwrap.shorten(n, LONGEST, placeholder=" …") + s if n else ""
            for n, s in zip(names, suffix, strict=True)
        ]
        if all(names) and len(set(candidates)) == len(candidates):
            return candidates
    return [f"{chr(ord('A') + k)}{s}" for k, s in enumerate(suffix)]


def letter(k: int) -> str:
    """Return what file number k beside the reference A is called: B, C, …, Z, B27, …."""
    return chr(ord("B") + k) if k < 25 else f"B{k + 1}"


def settings(dataset: xr.Dataset) -> dict[tuple[str, str], Any]:
    """Return what the run file gave under [system] and [dynamics], by (section, key); {} if unknown."""
    try:
        given = json.loads(dataset.attrs.get("settings", "{}"))
    except json.JSONDecodeError as error:
        raise UserError(f"{source(dataset)}: attribute settings is not JSON: {error}") from None
    tables = {name: given.get(name, {}) for name in ("system", "dynamics")} if isinstance(given, dict) else {}
    return {
        (section, key): value
        for section, table in tables.items()
        if isinstance(table, dict)
        for key, value in table.items()
    }


def size(dataset: xr.Dataset) -> float | None:
    """Return the number N of degrees of freedom, system.n of the run file; None where there is none."""
    n = settings(dataset).get(("system", "n"))
    return n if isinstance(n, int | float) and n > 0 else None


def differing(a: xr.Dataset, b: xr.Dataset, letter: str = "B") -> list[str]:
    """Return a line for each setting of the physics that both files know and that differs."""
    first, second = settings(a), settings(b)
    return [
        f"{section}.{key} = {value} in A, {second[section, key]} in {letter}"
        for (section, key), value in first.items()
        if (section, key) in second and second[section, key] != value and (section, key) not in DURATION
    ]


def step(dataset: xr.Dataset) -> float | None:
    """Return the time step, dynamics.dt of the run file or its default; None where there is none."""
    given = settings(dataset)
    dt = given[STEP] if STEP in given else _defaults(given).get(STEP)
    return float(dt) if isinstance(dt, int | float) and dt > 0 else None


def same_physics(datasets: Sequence[xr.Dataset], vary: Collection[tuple[str, str]] = ()) -> None:
    """Make sure that files differ in system.n (and in the keys `vary`) alone, defaults filled in.

    Raises
    ------
    UserError
        Naming the first key that differs and its values.
    """
    known_settings = [settings(dataset) for dataset in datasets]
    known = {key for given in known_settings for key in given} - DURATION - {("system", "n"), *vary}
    if any(key not in given for given in known_settings for key in known):
        known_settings = [{**_defaults(given), **given} for given in known_settings]
    for key in sorted(known):
        for given, dataset in zip(known_settings[1:], datasets[1:], strict=True):
            if given.get(key) != known_settings[0].get(key):
                first, other = (g.get(key, "not given") for g in (known_settings[0], given))
                raise UserError(
                    f"{option('extrapolate')}: {'.'.join(key)} differs, {first} in {source(datasets[0])} "
                    f"and {other} in {source(dataset)}; "
                    "the finite-N files may differ in system.n and dynamics.dt only"
                )


def _defaults(given: dict[tuple[str, str], Any]) -> dict[tuple[str, str], Any]:
    """Return the default of every key of a registered system; nothing for a user's own class."""
    from langevin.config import registry, validate

    name = given.get(("system", "name"))
    if name not in registry.names():
        return {}
    return {
        (section, key): info.default
        for section, kind in validate.tables(registry.load(name))
        if section in ("system", "dynamics")
        for key, info in kind.model_fields.items()
        if not info.is_required()
    }


def same_seed(datasets: Sequence[xr.Dataset]) -> list[str]:
    """Return a warning if runs share a seed: σ takes them for independent."""
    seeds = [str(d.attrs["seed"]) for d in datasets if "seed" in d.attrs and d.sizes.get("replica", 1) > 1]
    twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
    return [
        f"seed {seed} in several files: σ takes them for independent; give each its own" for seed in twice
    ]


def independent(dataset: xr.Dataset, name: str) -> tuple[int, str]:
    """Return how many independent values an average of `name` has, and what they are."""
    if "sample" in dataset.coords and (samples := np.unique(dataset["sample"]).size) > 1:
        return samples, "samples"
    return int(dataset.sizes.get("replica", 1)), "replicas"


def few(dataset: xr.Dataset, name: str, letter: str) -> str | None:
    """Return a warning if error bars rest on few independent values, else None."""
    count, kind = independent(dataset, name)
    if not 1 < count < FEW:
        return None
    uncertain = 100 / np.sqrt(2 * (count - 1))
    said = f"{letter}: error bars from {count} {kind} are themselves uncertain by some {uncertain:.0f} %"
    lacking = too_few("comparison", count)
    return said + (f"; {lacking} for an error that holds" if lacking else "")
