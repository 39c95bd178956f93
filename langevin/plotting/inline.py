"""A figure that a function returns is shown in a notebook: once, and whether pyplot is loaded or not."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
from matplotlib import figure
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imsave

from .minor_ticks import as_marks

#: Pixels of a notebook for an inch of a figure; its image has more, for screens that show more.
PIXELS = 100


class Figure(figure.Figure):
    """A figure that a notebook asks for its image.

    IPython itself shows those of pyplot's inline backend alone, and of all others one line of text. Where
    that backend is at work, IPython knows how to draw any figure, and does not ask.
    """

    def _repr_png_(self) -> tuple[bytes, dict[str, Any]]:
        """Return the image, and the size at which it is shown."""
        image = io.BytesIO()
        write_png(self, image)
        width, height = (round(PIXELS * float(inches)) for inches in self.get_size_inches())
        return image.getvalue(), {"width": width, "height": height}


def shown(drawn: figure.Figure) -> figure.Figure:
    """Return a figure as one that a notebook shows; a class of somebody else's stays as it is."""
    if type(drawn) is figure.Figure:
        # Whoever draws it makes it as matplotlib does.
        drawn.__class__ = Figure
    return drawn


def write_png(drawn: figure.Figure, path: Path | BinaryIO) -> None:
    """Write the pixels that `savefig` writes: it draws a figure twice, once to lay it out."""
    canvas, dpi = drawn.canvas, drawn.dpi
    chosen = matplotlib.rcParams["savefig.dpi"]
    try:
        drawn.dpi = dpi if chosen == "figure" else chosen
        pixels: Any = FigureCanvasAgg(drawn)
        with as_marks(drawn) as marks:
            pixels.draw()
        if any(mark.labelled for mark in marks):
            pixels.draw()
        imsave(path, pixels.buffer_rgba(), format="png", origin="upper", dpi=drawn.dpi)
    finally:
        drawn.dpi = dpi
        drawn.set_canvas(canvas)
