"""Evaluated ensembles become a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from langevin.core.system import Array
from langevin.files import provenance
from langevin.observables.ensembles import Mean, mean
from langevin.version import __version__

from .evaluation import MEAN_LOSS, OF_MEMBERS, Evaluated
from .members import Method

#: Points of the curve of a learning rate.
RATE_POINTS = 401


def dataset(evaluated: Sequence[Evaluated], budget: float) -> xr.Dataset:
    """Return the dataset of all methods.

    Parameters
    ----------
    budget : float
        Steps B of one budget.

    Returns
    -------
    Dataset
        Dimensions method, repetition, member, budget, group and rate_point; NaN where a method has fewer.
    """
    pooled = max(e.size * e.times.size for e in evaluated)
    labels = {
        "method": (np.array([e.method.name for e in evaluated], dtype=object), "method"),
        "member": (np.arange(1, pooled + 1), "place in the order in which members join"),
        "budget": (
            np.arange(1, max(e.size for e in evaluated) + 1),
            "budgets spent, which is replicas pooled",
        ),
    }
    ensembles = xr.Dataset()
    for dim, (values, meaning) in labels.items():
        ensembles[dim] = (dim, values, {"long_name": meaning, "units": "1"})
    own = ("method", "member")
    runs = [np.repeat(np.arange(e.size), e.times.size) for e in evaluated]
    _add(ensembles, "run", own, runs, "place of the member's replica in the repetition")
    words = "steps spent when the member joins, a budget for every replica before"
    within = [e.method.before + e.times for e in evaluated]
    costs = [
        np.concatenate([k * budget + w for k in range(e.size)])
        for e, w in zip(evaluated, within, strict=True)
    ]
    _add(ensembles, "cost", own, costs, words, "steps")
    _add_members(ensembles, evaluated)
    _add_budgets(ensembles, evaluated)
    _add_rates(ensembles, [e.method for e in evaluated])
    ensembles.attrs = _attributes(evaluated, budget)
    return ensembles


def _add(
    ensembles: xr.Dataset,
    name: str,
    dims: tuple[str, ...],
    parts: Sequence[Any],
    meaning: str,
    unit: str = "1",
) -> None:
    """Add a variable, its parts stacked along the first of `dims`, with NaN behind the shorter ones."""
    arrays = [np.asarray(part, dtype=float) for part in parts]
    shape = np.max([a.shape for a in arrays], axis=0)
    whole = np.full((len(arrays), *shape), np.nan)
    for place, array in zip(whole, arrays, strict=True):
        place[tuple(slice(n) for n in array.shape)] = array
    ensembles[name] = (dims, whole, {"long_name": meaning, "units": unit})


def _add_members(ensembles: xr.Dataset, evaluated: Sequence[Evaluated]) -> None:
    for name, meaning in OF_MEMBERS.items():
        _add(
            ensembles, name, ("method", "repetition", "member"), [e.members[name] for e in evaluated], meaning
        )
    dof = xr.DataArray([float(e.dof) for e in evaluated], dims="method")
    for name in ("distance_from_start", "distance_from_first"):
        meaning = ensembles[name].attrs["long_name"].replace("Euclidean", "root mean square")
        ensembles[f"rms_{name}"] = ensembles[name] / np.sqrt(dof)
        ensembles[f"rms_{name}"].attrs = {"long_name": f"{meaning}, per weight", "units": "1"}
    dims = ("method", "repetition", "member", "other_member")
    words = "part of the test examples that two members classify differently"
    _add(ensembles, "disagreement", dims, [e.disagreement for e in evaluated], words)
    words = "disagreement of two members over the mean of their test errors"
    _add(ensembles, "normalised_disagreement", dims, [e.normalised for e in evaluated], words)


def _add_budgets(ensembles: xr.Dataset, evaluated: Sequence[Evaluated]) -> None:
    """Add what k budgets buy: of every disjoint group of k replicas, and the mean over them."""
    sizes = ensembles["budget"].to_numpy()
    kept = {"budget": [e.budgets for e in evaluated], "averaged": [e.averages for e in evaluated]}
    for name, values in kept.items():
        whose = (
            "of k replicas" if name == "budget" else "of k networks with averaged weights, of a replica each"
        )
        for kind, what in (("error", "test error of the ensemble"), ("loss", MEAN_LOSS)):
            groups = [[np.asarray(v.get((kind, int(k)), [])) for k in sizes] for v in values]
            means = _add_groups(ensembles, f"{name}_{kind}", f"{what} {whose}", groups)
            if (name, kind) == ("budget", "error"):
                counts = np.array([[m.number for m in rows] for rows in means])
                about = {"long_name": "disjoint groups of k replicas", "units": "1"}
                ensembles["groups"] = (("method", "budget"), counts, about)
    networks = np.array([[k * e.times.size if k <= e.size else 0 for k in sizes] for e in evaluated])
    ensembles["networks"] = (("method", "budget"), networks, {"long_name": "members pooled", "units": "1"})


def _add_groups(ensembles: xr.Dataset, name: str, what: str, groups: list[list[Array]]) -> list[list[Mean]]:
    """Add the values of all groups, their mean and its standard error; return the means."""
    longest = max(g.size for rows in groups for g in rows)
    filled = [[np.pad(g, (0, longest - g.size), constant_values=np.nan) for g in rows] for rows in groups]
    long = {"long_name": f"{what}, within a budget each", "units": "1"}
    # Where nothing was averaged there are as many groups, without a value.
    whole = np.full((len(groups), len(groups[0]), max(longest, ensembles.sizes.get("group", 0))), np.nan)
    whole[..., :longest] = np.array(filled)
    ensembles[name] = (("method", "budget", "group"), whole, long)
    means = [[mean(g) for g in rows] for rows in groups]
    for part, place, said in (("mean", 0, "mean"), ("standard_error", 1, "standard error")):
        values = np.array([[m[place] for m in rows] for rows in means])
        about = {"long_name": f"{said} over disjoint groups: {what}", "units": "1"}
        ensembles[f"{name}_{part}"] = (("method", "budget"), values, about)
    return means


def _add_rates(ensembles: xr.Dataset, methods: Sequence[Method]) -> None:
    """Add the learning rate of one replica's steps: its value at most of its corners, and in between."""
    steps = []
    for method in methods:
        last = round(float(method.settings.dynamics.t_max)) - 1
        corners = np.concatenate([method.times - 1, method.times]) if method.cyclic else np.empty(0)
        points = np.concatenate([np.linspace(0, last, RATE_POINTS).round(), corners])
        steps.append(np.unique(points[(points >= 0) & (points <= last)]))
    rates = [m.settings.dynamics.rates.rates(s) for m, s in zip(methods, steps, strict=True)]
    dims = ("method", "rate_point")
    costs = [m.before + s + 1 for m, s in zip(methods, steps, strict=True)]
    _add(ensembles, "rate_cost", dims, costs, "steps spent after a step of a replica", "steps")
    _add(ensembles, "learning_rate", dims, rates, "learning rate of this step")


def _attributes(evaluated: Sequence[Evaluated], budget: float) -> dict[str, Any]:
    first = evaluated[0]
    origin = first.method.dataset.attrs
    # What the titles of the runs have in common, such as the data; their files, if that is nothing.
    titles = [[part.strip() for part in e.method.settings.title.split(",")] for e in evaluated]
    shared = [part for part in titles[0] if part and all(part in other for other in titles)]
    names = ", ".join(shared or [e.method.name for e in evaluated])
    return {
        "Conventions": "CF-1.11",
        "title": f"Ensembles: {names}",
        "source": f"langevin {__version__}",
        "system": first.method.settings.system_name,
        **{k: v for k, v in origin.items() if k == "data" or k.startswith("data_")},
        "files": "\n".join(str(e.method.path) for e in evaluated),
        "schedules": "\n".join(str(getattr(e.method.settings.dynamics, "schedule", "")) for e in evaluated),
        "cycles": np.array([int(e.method.cyclic) for e in evaluated]),
        "settings": "\n".join(e.method.settings.as_json() for e in evaluated),
        "budget_steps": float(budget),
        **first.about,
        "test_examples": first.examples,
        "classified": first.classified,
        "dof": first.dof,
        "versions": provenance.versions(),
        "commit": provenance.commit(),
        "device": first.device,
        "history": provenance.history_line("ensemble"),
    }
