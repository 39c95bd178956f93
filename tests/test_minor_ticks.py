"""A figure that is written has the minor ticks that matplotlib draws, to the pixel, and keeps its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.ticker import AutoMinorLocator, FuncFormatter

from langevin import plotting
from langevin.plotting import minor_ticks
from langevin.plotting.style import STYLE


def decades(drawn: Figure) -> Axes:
    ax = drawn.subplots()
    ax.loglog([1e-3, 1e5], [1e-2, 30.0])
    return ax


def few_decades(drawn: Figure) -> None:
    ax = decades(drawn)
    # Along y the minor ticks have labels.
    ax.set_ylim(2, 15)


def many_decades(drawn: Figure) -> None:
    # Along y minor ticks are decades.
    decades(drawn).set_ylim(1e-30, 1e30)


def reversed_in_colour(drawn: Figure) -> None:
    ax = decades(drawn)
    ax.invert_xaxis()
    ax.tick_params(which="minor", colors="#D55E00", length=5, width=2)
    ax.tick_params(top=False, which="both")


def outward(drawn: Figure) -> None:
    decades(drawn).tick_params(which="minor", axis="y", direction="out", length=8)


def shared(drawn: Figure) -> None:
    upper, lower = drawn.subplots(2, 1, sharex=True, sharey=True)
    upper.loglog([1, 1e5], [1, 1e3])
    lower.loglog([1, 1e4], [1e-3, 1])


def linear(drawn: Figure) -> None:
    ax = drawn.subplots()
    ax.plot([0, 1], [0, 1])
    ax.xaxis.set_minor_locator(AutoMinorLocator())
    ax.twinx().semilogy([0, 1], [1e-5, 1])


def with_grid(drawn: Figure) -> None:
    decades(drawn).grid(which="minor", axis="x")


def hidden(drawn: Figure) -> None:
    ax = decades(drawn)
    ax.xaxis.set_visible(False)
    drawn.add_axes((0.7, 0.2, 0.2, 0.2), xscale="log", xlim=(1, 1e6)).set_axis_off()


def round_one(drawn: Figure) -> None:
    drawn.add_subplot(projection="polar").plot([0, 1, 2], [1, 2, 3])


FIGURES: tuple[Callable[[Figure], Any], ...] = (
    *(
        decades,
        few_decades,
        many_decades,
        reversed_in_colour,
        outward,
        shared,
        linear,
        with_grid,
        hidden,
        round_one,
    ),
)


def made(draw: Callable[[Figure], Any]) -> Figure:
    with matplotlib.rc_context(STYLE):
        drawn = Figure(figsize=(4, 3), layout="constrained")
        draw(drawn)
    return drawn


def axes_of(drawn: Figure) -> list[Any]:
    return [axis for ax in drawn.axes for axis in (ax.xaxis, ax.yaxis)]


@pytest.mark.parametrize("draw", FIGURES)
def test_pixels_are_those_of_matplotlib_and_the_figure_is_as_it_was(
    draw: Callable[[Figure], Any], tmp_path: Path
) -> None:
    own, other = made(draw), made(draw)
    before = [axis.get_minor_locator() for axis in axes_of(own)]
    children = [ax.get_children() for ax in own.axes]
    plotting.write(own, tmp_path / "own.png")
    other.savefig(tmp_path / "other.png", dpi=matplotlib.rcParams["savefig.dpi"])
    np.testing.assert_array_equal(*(imread(tmp_path / name) for name in ("own.png", "other.png")))
    assert [axis.get_minor_locator() for axis in axes_of(own)] == before
    assert [ax.get_children() for ax in own.axes] == children


def test_which_axes_have_marks() -> None:
    def count(draw: Callable[[Figure], Any]) -> int:
        with minor_ticks.as_marks(made(draw)) as marks:
            return len(marks)

    found = {draw.__name__: count(draw) for draw in FIGURES}
    assert found["decades"] == 2
    assert found["few_decades"] == found["with_grid"] == found["outward"] == 1
    assert found["shared"] == 4
    assert found["round_one"] == 0


def test_marks_are_seen() -> None:
    drawn = made(decades)
    canvas = FigureCanvasAgg(drawn)
    with minor_ticks.as_marks(drawn) as marks:
        canvas.draw()
        with_marks = np.array(canvas.buffer_rgba())
        for mark in marks:
            mark.set_visible(False)
        canvas.draw()
    assert (with_marks != np.array(canvas.buffer_rgba())).any()


def test_labels_that_only_the_layout_gives_are_drawn(tmp_path: Path) -> None:
    """A label may depend on where its axes are, which is not known before they are laid out."""

    def late(drawn: Figure) -> None:
        ax = decades(drawn)
        begun = ax.get_position().x0
        ax.yaxis.set_minor_formatter(
            FuncFormatter(lambda value, _: "" if ax.get_position().x0 == begun else f"{value:.0e}")
        )

    own = made(late)
    own.dpi = (
        own.dpi if matplotlib.rcParams["savefig.dpi"] == "figure" else matplotlib.rcParams["savefig.dpi"]
    )
    canvas: Any = FigureCanvasAgg(own)
    with minor_ticks.as_marks(own) as marks:
        canvas.draw()
    assert any(mark.labelled for mark in marks)
    without = np.array(canvas.buffer_rgba())
    canvas.draw()
    plotting.write(made(late), tmp_path / "own.png")
    written = np.round(255 * imread(tmp_path / "own.png"))
    np.testing.assert_array_equal(written, np.array(canvas.buffer_rgba()))
    assert (written != without).any()


def test_an_error_leaves_the_figure_as_it_was() -> None:
    drawn = made(decades)
    before, children = [axis.get_minor_locator() for axis in axes_of(drawn)], drawn.axes[0].get_children()
    with pytest.raises(ZeroDivisionError), minor_ticks.as_marks(drawn):
        raise ZeroDivisionError
    assert [axis.get_minor_locator() for axis in axes_of(drawn)] == before
    assert drawn.axes[0].get_children() == children
