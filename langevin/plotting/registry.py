"""Figures are registered here, each by its name, so that one is added in the file that draws it.

>>> from langevin import plotting
>>> @plotting.register("ages", fits=lambda dataset: "msd" in dataset)
... def ages(dataset):
...     figure = Figure()
...     ...
...     return figure
>>> plotting.figure(dataset, "ages")  # doctest: +SKIP

The modules of the package are named in `langevin.results.kinds`; packages of others name theirs as entry
points of the group "langevin.figures".
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import TypeVar

import xarray as xr
from matplotlib.figure import Figure

from langevin.errors import UserError, shortened
from langevin.results.kinds import ResultKind, kind_of, recognised
from langevin.speech import option

#: Entry points of this group name modules that register figures.
GROUP = "langevin.figures"

Draw = TypeVar("Draw", bound=Callable[..., Figure])


@dataclass(frozen=True)
class Drawing:
    """A figure, or a family of them, one for each of several names; attributes are arguments of `register`.

    `draw` takes a dataset, of a family also the name asked for (None: nothing was), options as keywords.
    """

    name: str
    draw: Callable[..., Figure]
    fits: Callable[[xr.Dataset], bool]
    names: Callable[[xr.Dataset], Sequence[str]]
    priority: int
    options: tuple[str, ...]
    family: bool


#: Kind of result → name → what draws it.
_REGISTERED: dict[str, dict[str, Drawing]] = {}


def register(
    name: str,
    *,
    fits: Callable[[xr.Dataset], bool] = lambda dataset: True,
    names: Callable[[xr.Dataset], Sequence[str]] | None = None,
    kinds: Sequence[str] = ("run", "curve"),
    priority: int = 0,
    options: Sequence[str] = (),
) -> Callable[[Draw], Draw]:
    """Register the function below as a figure.

    Parameters
    ----------
    name : str
        What `--quantity` calls it.
    fits : callable
        Whether a dataset can be drawn so.
    names : callable, optional
        For a family of figures: what `--quantity` may say of a dataset. The function is then given the name
        as its second argument, or None where the figure is drawn by default.
    kinds : sequence of str
        Kinds of results that it draws (`langevin.results.kinds`).
    priority : int
        Above 0: it may be drawn where nothing is asked for. Of figures that fit the highest is. Those of the
        package have up to 4.
    options : sequence of str
        Keywords that the function takes besides, such as "threshold".

    Raises
    ------
    ValueError
        If another function has this name.
    """

    def keep(draw: Draw) -> Draw:
        def own(dataset: xr.Dataset) -> Sequence[str]:
            return [name] if fits(dataset) else []

        drawing = Drawing(name, draw, fits, names or own, priority, tuple(options), names is not None)
        for kind in kinds:
            before = _REGISTERED.setdefault(kind, {}).get(name)
            if before is not None and _origin(before.draw) != _origin(draw):
                raise ValueError(f"figure {name!r} of kind {kind!r}: {_origin(before.draw)} has this name")
            _REGISTERED[kind][name] = drawing
        return draw

    return keep


def _origin(draw: Callable[..., Figure]) -> str:
    return f"{draw.__module__}.{draw.__qualname__}"


@cache
def _load_others() -> None:
    for point in entry_points(group=GROUP):
        point.load()


def drawings(kind: ResultKind) -> list[Drawing]:
    """Return the figures of a kind of result: those of the package in the order of the kind, then others."""
    for module in kind.figures:
        importlib.import_module(module)
    _load_others()
    place = {module: k for k, module in enumerate(kind.figures)}
    registered = _REGISTERED.get(kind.name, {}).values()
    return sorted(registered, key=lambda drawing: place.get(drawing.draw.__module__, len(place)))


def quantities(dataset: xr.Dataset) -> list[str]:
    """Return the observables that can be drawn, and the figures of other kinds by their names."""
    return [name for drawing in drawings(kind_of(dataset)) for name in drawing.names(dataset)]


def chosen(dataset: xr.Dataset, quantity: str | None) -> Drawing:
    """Return what draws a quantity; where nothing is asked for, what shows most.

    UserError if there is nothing of that name to draw.
    """
    known = drawings(kind_of(dataset))
    if quantity is None and recognised(dataset) is None:
        # What somebody took out of a result.
        allowed = ", ".join(quantities(dataset)) or "none"
        raise UserError(f"no figure shows this part of a result by itself; {option('quantity')}: {allowed}")
    if quantity is None:
        ranked = sorted((d for d in known if d.priority), key=lambda d: -d.priority)
        return next(drawing for drawing in ranked if drawing.fits(dataset))
    # Named ones first: it may take long to list all.
    for drawing in sorted(known, key=lambda d: d.name != quantity):
        if quantity in drawing.names(dataset):
            return drawing
    raise _refused(dataset, quantity)


def _refused(dataset: xr.Dataset, quantity: str) -> UserError:
    """Return what is said of a quantity that cannot be drawn: whether it is in the file, and what can be."""
    there = "in the file, but no figure draws it" if quantity in dataset.variables else "not in the file"
    swept = kind_of(dataset).name == "sweep"
    known = f"allowed{' of a sweep' * swept}: {', '.join(quantities(dataset)) or 'none'}"
    remark = f"; for others select a member with {option('at')}" * swept
    return UserError(f"{option('quantity', repr(shortened(quantity)))}: {there}; {known}{remark}")
