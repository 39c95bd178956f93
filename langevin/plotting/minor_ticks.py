"""The minor ticks of an axis are drawn as one artist: one by one they are half of the work of a figure.

A logarithmic axis over seven decades has some sixty of them. Each is an object of three lines and two texts,
and the layout asks all of them for their sizes, several times. Without labels they are marks, and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullLocator

#: How far beyond the end of an axis a tick is still drawn, in lengths of the axis: as matplotlib has it.
_CLOSE = 1e-10


class Marks(Artist):
    """The minor ticks of an axis, in place of matplotlib's.

    Parameters
    ----------
    axis : matplotlib.axis.Axis

    Attributes
    ----------
    labelled : bool
        Whether one of them has turned out to have a label, which is not drawn.
    """

    def __init__(self, axis: Any) -> None:
        super().__init__()
        self.labelled = False
        self._axis, self._locator = axis, axis.minor.locator
        tick = axis.get_minor_ticks(1)[0]
        lines = [line for line in (tick.tick1line, tick.tick2line) if line.get_visible()]
        #: Lines, and at which end of the other axis each of them is.
        self._lines = [(_like(line), _across(line, axis)) for line in lines]
        self.set_zorder(axis.get_zorder())
        self.set_in_layout(False)

    def take_place(self) -> None:
        """Stand where the axis has drawn its own."""
        # Axes that share their limits share locators, too: all have been read before the first is replaced.
        self._axis.minor.locator = NullLocator()
        self._axis.axes.add_artist(self)

    def give_place(self) -> None:
        """Let the axis draw its own again."""
        self._axis.minor.locator = self._locator
        self.remove()

    def draw(self, renderer: Any) -> None:
        """Draw the marks of those within the axis."""
        if not self.get_visible():
            return
        axis = self._axis
        none, axis.minor.locator = axis.minor.locator, self._locator
        try:
            places = axis.get_minorticklocs()
            self.labelled |= any(axis.get_minor_formatter().format_ticks(places))
        finally:
            axis.minor.locator = none
        transform = axis.get_transform()
        low, high = sorted(transform.transform(axis.get_view_interval()))
        beyond, there = _CLOSE * (high - low), transform.transform(places)
        places = places[(there >= low - beyond) & (there <= high + beyond)]
        for line, end in self._lines:
            across = np.full(len(places), end)
            line.set_data(*((places, across) if axis.axis_name == "x" else (across, places)))
            line.draw(renderer)


def _like(line: Line2D) -> Line2D:
    """Return a line that looks as that of a tick."""
    own = Line2D([], [])
    own.update_from(line)
    own.set_transform(line.get_transform())
    return own


def _across(line: Line2D, axis: Any) -> float:
    """Return at which end of the other axis a line of ticks is: 0 or 1."""
    along_x, along_y = line.get_data()
    return float(np.ravel(along_y if axis.axis_name == "x" else along_x)[0])


def _can_be_marks(axis: Any) -> bool:
    """Return whether an axis draws minor ticks that are marks only."""
    if isinstance(axis.minor.locator, NullLocator) or not (axis.get_visible() and axis.axes.axison):
        return False
    tick = axis.get_minor_ticks(1)[0]
    # Outside of the frame the layout has to make room for them.
    if tick.get_tick_padding() > 0 or tick.gridline.get_visible():
        return False
    return not any(axis.get_minor_formatter().format_ticks(axis.get_minorticklocs()))


@contextmanager
def as_marks(drawn: Figure) -> Iterator[list[Marks]]:
    """Let a figure draw its minor ticks as marks; afterwards it is as it was.

    Yields
    ------
    list of Marks
        Ticks have labels by where they are, and that depends on the layout: if after drawing some are
        `labelled`, the figure has to be drawn without this.
    """
    axes = [ax for ax in drawn.axes if ax.name == "rectilinear"]
    marks = [Marks(axis) for ax in axes for axis in (ax.xaxis, ax.yaxis) if _can_be_marks(axis)]
    for own in marks:
        own.take_place()
    try:
        yield marks
    finally:
        for own in marks:
            own.give_place()
