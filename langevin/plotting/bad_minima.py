"""Where quenches of nets end against r = P/N: at loss 0, or in a minimum above it, by where they began."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from langevin.observables import jamming
from langevin.results.members import members

from .jamming import has_jamming
from .registry import register
from .style import GREY, colours_of, few, panels, waiting_time_legend

#: A quench has come to the bottom with a loss below this: of P = 500 patterns, with margin 1, the largest gap
#: is then below 0.03.
BOTTOM = 1e-6


class Quenched(NamedTuple):
    """Where the quenches from one time ended.

    Attributes
    ----------
    ratios : ndarray, shape (n,)
        r, ascending.
    loss : ndarray, shape (n, nets)
    rest : ndarray of bool, shape (n, nets)
        Whether the gradient that was left is within the tolerance: else the quench ended for another reason.
    point : JammingPoint or None
        Where half of the quenches end above the bottom, if the sweep holds that.
    """

    ratios: np.ndarray
    loss: np.ndarray
    rest: np.ndarray
    point: jamming.JammingPoint | None


def has_bad_minima(dataset: xr.Dataset) -> bool:
    """Say whether a sweep over the number of patterns has quenches of nets."""
    return has_jamming(dataset) and "inherent_energy" in dataset


def quenches_of(dataset: xr.Dataset) -> dict[float, Quenched]:
    """Return the time from which quenches began → where they ended; of members that came to their end."""
    own = [m for _, m in members(dataset) if "inherent_energy" in m and m.attrs.get("status") == "complete"]
    ratio = {id(m): _ratio(m) for m in own}
    ordered = sorted(own, key=lambda m: ratio[id(m)])
    ratios = np.array([ratio[id(m)] for m in ordered])
    found = {}
    for time in ordered[0]["inherent_time"].to_numpy() if ordered else ():
        loss = np.array([m["inherent_energy"].sel(inherent_time=time).to_numpy() for m in ordered])
        above = loss > BOTTOM
        known = len(ratios) > 1 and above.any() and not above.all()
        point = jamming.jamming_point(ratios, above) if known else None
        rest = np.array([_at_rest(m).sel(inherent_time=time).to_numpy() for m in ordered])
        found[float(time)] = Quenched(ratios, loss, rest, point)
    return found


def _at_rest(member: xr.Dataset) -> xr.DataArray:
    energy = member["inherent_energy"]
    left = member["inherent_gradient"] if "inherent_gradient" in member else xr.zeros_like(energy)
    rest: xr.DataArray = left <= float(energy.attrs.get("tolerance", np.inf))
    return rest


def _ratio(member: xr.Dataset) -> float:
    about = member["unsatisfied_per_weight"].attrs
    return float(about["patterns"] / about["couplings"])


@register("bad_minima", fits=has_bad_minima, kinds=["sweep"], priority=4)
def bad_minima_figure(dataset: xr.Dataset) -> Figure:
    """Draw the losses of inherent structures against r, a colour for each time at which quenches begin.

    (a) Every quench, filled where it came to rest. (b) The part that ends above loss 0, with the logistic
    function of the largest likelihood, whose middle the legend says.
    """
    found = quenches_of(dataset)
    colours = colours_of(range(len(found)))
    drawn, (left, right) = panels(2, 2)
    shifts = _shifts([q.ratios for q in found.values()])
    for k, (quenched, shift) in enumerate(zip(found.values(), shifts, strict=True)):
        _draw(left, quenched, colours[k], "o^vDPX"[k % 6], shift)
        _draw_fraction(right, quenched, colours[k], "o^vDPX"[k % 6])
    left.set_yscale("symlog", linthresh=BOTTOM)
    left.set_ylim(bottom=-BOTTOM / 5)
    left.set_ylabel("loss of the inherent structure")
    right.set(ylabel="part of the quenches\nthat end above 0", ylim=(-0.04, 1.04))
    for ax in (left, right):
        ax.set_xlabel("patterns for each weight $r = P/N$")
    for fill, words in (("full", "at rest"), ("none", "still descending")):
        left.plot([], [], color=GREY, marker="o", ls="", ms=3.5, fillstyle=fill, label=words)
    left.legend(loc="lower right", fontsize="x-small")
    right.legend(loc="lower right", fontsize="x-small")
    times = xr.DataArray(list(found), dims="inherent_time", attrs=dataset["inherent_time"].attrs)
    note = few(dataset["inherent_energy"])
    waiting_time_legend(drawn, times, colours, "time $t$ at which the quench begins", note)
    return drawn


def _shifts(ratios: Sequence[np.ndarray]) -> list[float]:
    """Return by how much the points of each time move aside, so that all are seen."""
    spacing = float(np.diff(ratios[0]).min()) if ratios and len(ratios[0]) > 1 else 0.0
    return [0.15 * spacing * (k - (len(ratios) - 1) / 2) for k in range(len(ratios))]


def _draw(ax: Axes, quenched: Quenched, colour: Any, marker: str, shift: float) -> None:
    """Draw a point for each quench; a loss below `BOTTOM` is on the axis."""
    for ratio, values, rest in zip(quenched.ratios, quenched.loss, quenched.rest, strict=True):
        shown = np.where(values > BOTTOM, values, 0.0)
        for chosen, fill in ((rest, "full"), (~rest, "none")):
            at = np.full(int(chosen.sum()), ratio + shift)
            ax.plot(at, shown[chosen], color=colour, marker=marker, ls="", ms=3.5, fillstyle=fill)


def _draw_fraction(ax: Axes, quenched: Quenched, colour: Any, marker: str) -> None:
    words, point = "_", quenched.point
    if point is not None:
        fine = np.linspace(quenched.ratios[0], quenched.ratios[-1], 200)
        ax.plot(fine, point.fraction(fine), color=colour, lw=1)
        words = f"half at {point.value:.2f} ± {point.error:.2f}"
    above = (quenched.loss > BOTTOM).mean(1)
    ax.plot(quenched.ratios, above, color=colour, marker=marker, ls="", ms=4.5, label=words)
