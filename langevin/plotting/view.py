"""What a reader wants to see of a figure: some waiting times, other axes, another title."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from string import ascii_lowercase
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.errors import UserError, shortened
from langevin.speech import option

from .numerals import numbers

#: A waiting time is found by what legends print of it.
_NEAR = 6e-3

#: What `--axis` sets: "x", or "b.y" of panel (b).
_KEY = re.compile(r"(?:(?P<panel>[a-z])\.)?(?P<axis>[xy])")

#: The letter of a panel, as its title has it.
_LETTER = re.compile(r"\((\w)\)")

Ends = tuple[float | None, float | None]


@dataclass
class _Selection:
    """Waiting times that are wanted; whether the figure knows any."""

    times: tuple[float, ...]
    asked: bool = field(default=False)


_SELECTED: ContextVar[_Selection | None] = ContextVar("selected", default=None)


@contextmanager
def selecting(waiting_times: Sequence[float] | None) -> Iterator[None]:
    """Draw no other waiting times inside; None: all.

    Raises
    ------
    UserError
        If the figure draws none of the kind.
    """
    if waiting_times is None:
        yield
        return
    if not len(waiting_times):
        raise UserError(f"{option('waiting-times')}: none given; allowed: one or more, such as 1,10,100")
    selection = _Selection(tuple(map(float, waiting_times)))
    token = _SELECTED.set(selection)
    try:
        yield
    finally:
        _SELECTED.reset(token)
    if not selection.asked:
        raise UserError(f"{option('waiting-times')}: the figure draws no waiting times to choose from")


def wanted(waiting: Any, known: Sequence[int]) -> list[int]:
    """Return those of the indices whose waiting times are to be drawn.

    Parameters
    ----------
    waiting : array_like, shape (waiting_time,)
    known : sequence of int
        Of the waiting times that there is something to draw of.
    """
    selection = _SELECTED.get()
    if selection is None:
        return list(known)
    selection.asked = True
    times = np.asarray(waiting, dtype=float)
    chosen = set()
    for time in selection.times:
        near = [i for i in known if abs(times[i] - time) <= _NEAR * abs(time)]
        if not near:
            there = ", ".join(re.sub(r"[${}]|\\times ", "", t) for t in numbers(times[list(known)]))
            raise UserError(
                f"{option('waiting-times', f'{time:g}')}: none like this is drawn; allowed: {there or 'none'}"
            )
        chosen.add(min(near, key=lambda i: abs(times[i] - time)))
    return sorted(chosen)


def is_selecting() -> bool:
    """Say whether waiting times were chosen."""
    return _SELECTED.get() is not None


def parsed_times(text: str) -> list[float]:
    """Return what --waiting-times was given: "1,10,100"; UserError where it is anything else."""
    try:
        times = [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        times = []
    if not times or not all(map(math.isfinite, times)):
        raise UserError(
            f"{option('waiting-times', repr(shortened(text)))}: allowed: numbers by commas, such as 1,10,100"
        )
    return times


def parsed_axes(assignments: Sequence[str]) -> dict[str, str]:
    """Return what --axis was given: "x" or "b.y" → "log", "linear" or "1e-3:1"."""
    given: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = (part.strip() for part in assignment.partition("="))
        if not equals:
            raise UserError(
                f"{option('axis', repr(shortened(assignment)))}: write x=log, y=linear or b.y=1e-3:1"
            )
        # A scale and limits of one axis are two assignments.
        given[name] = f"{given[name]},{value}" if name in given else value
    return given


def set_axes(drawn: Figure, axes: Mapping[str, Any]) -> None:
    """Set scales and limits of the panels of a figure.

    Parameters
    ----------
    axes : mapping
        "x" or "y" of all panels, "b.y" of panel (b) → "log", "linear", limits as a pair (low, high) or
        "low:high", where an end may be None or left out; or several of these in words, by commas.

    Raises
    ------
    UserError
        If there is no such panel, or no such scale, or limits are none.
    """
    lettered = _panels(drawn)
    for key, value in axes.items():
        match = _KEY.fullmatch(key)
        panel = match["panel"] if match else None
        if match is None or (panel is not None and panel not in lettered):
            allowed = ", ".join(f"{letter}.x, {letter}.y" for letter in lettered)
            raise UserError(
                f"{option('axis', repr(shortened(str(key))))}: no such axis; allowed: x, y, {allowed}"
            )
        said = option("axis", f"{key}={value}")
        wishes = value.split(",") if isinstance(value, str) else [value]
        for ax in [lettered[panel]] if panel else list(lettered.values()):
            for wish in wishes:
                _set_axis(ax, match["axis"], wish, said)


def _panels(drawn: Figure) -> dict[str, Axes]:
    """Return the panels by their letters; where they have none, in their order."""
    own = [ax for ax in drawn.axes if ax.get_label() != "<colorbar>" and ax.axison]
    titled = {m[1]: ax for ax in own if (m := _LETTER.match(ax.get_title(loc="left")))}
    return titled or dict(zip(ascii_lowercase, own, strict=False))


def _set_axis(ax: Axes, axis: str, wish: Any, said: str) -> None:
    if wish in ("log", "linear"):
        if wish == "log" and not _has_positive(ax, axis):
            raise UserError(f"{said}: nothing there is above 0; allowed: linear")
        if getattr(ax, f"get_{axis}scale")() != wish:
            # Limits that were chosen for the other scale go with it.
            getattr(ax, f"set_{axis}scale")(wish)
            getattr(ax, f"set_{axis}lim")(auto=True)
            ax.relim()
            ax.autoscale_view(scalex=axis == "x", scaley=axis == "y")
        return
    low, high = _ends(wish, said)
    if getattr(ax, f"get_{axis}scale")() == "log" and min(e for e in (low, high, 1.0) if e is not None) <= 0:
        raise UserError(f"{said}: the axis is logarithmic; allowed: limits > 0")
    getattr(ax, f"set_{axis}lim")(low, high)


def _ends(wish: Any, said: str) -> Ends:
    """Return two limits, of which one may be None; UserError where they are none."""
    parts = wish.split(":") if isinstance(wish, str) else wish
    try:
        low, high = (None if end is None or end == "" else float(end) for end in parts)
    except (TypeError, ValueError):
        raise UserError(f"{said}: allowed: log, linear, or limits such as 1e-3:1, :1 and 0:") from None
    known = [end for end in (low, high) if end is not None]
    if not known or not all(map(math.isfinite, known)) or (len(known) == 2 and known[0] >= known[1]):
        raise UserError(f"{said}: limits must be finite, the first below the second")
    return low, high


def _has_positive(ax: Axes, axis: str) -> bool:
    values = [np.asarray(getattr(line, f"get_{axis}data")(), dtype=float) for line in ax.get_lines()]
    return any(bool((v > 0).any()) for v in values)
