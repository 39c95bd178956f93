"""Figures from result files. What is drawn depends on what is in the file, never on the system's name."""

from .layout import check_format, figure, quantities, save
from .panels import draw_energy, draw_two_time, estimate
from .response import draw_response
from .style import BLUE, GREY, NAMED, STYLE, SYMBOLS, VERMILION, unit_label

__all__ = [
    "BLUE",
    "GREY",
    "NAMED",
    "STYLE",
    "SYMBOLS",
    "VERMILION",
    "check_format",
    "draw_energy",
    "draw_response",
    "draw_two_time",
    "estimate",
    "figure",
    "quantities",
    "save",
    "unit_label",
]
