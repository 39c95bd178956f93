"""The pixels of a figure are written here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave

from .minor_ticks import as_marks


def write_png(drawn: Figure, path: Path | BinaryIO) -> None:
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
