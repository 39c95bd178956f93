"""Figures are drawn by what is in a result file, never by the name of its system."""

from matplotlib.figure import Figure

from .layout import check_format, figure, save, write
from .panels import draw_energy, draw_two_time, estimate
from .registry import quantities, register
from .response import draw_response
from .style import BLUE, GREY, NAMED, STYLE, SYMBOLS, VERMILION, unit_label

__all__ = [
    "BLUE",
    "GREY",
    "NAMED",
    "STYLE",
    "SYMBOLS",
    "VERMILION",
    "Figure",
    "check_format",
    "draw_energy",
    "draw_response",
    "draw_two_time",
    "estimate",
    "figure",
    "quantities",
    "register",
    "save",
    "unit_label",
    "write",
]
