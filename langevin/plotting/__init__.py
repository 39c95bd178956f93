"""Figures are drawn by what is in a result file, never by the name of its system."""

from matplotlib.figure import Figure

from .layout import check_format, figure, save, write
from .registry import quantities, register
from .sheet import laid_on, styled
from .style import panels as subplots

__all__ = [
    "Figure",
    "check_format",
    "figure",
    "laid_on",
    "quantities",
    "register",
    "save",
    "styled",
    "subplots",
    "write",
]
