"""What a comparison of several results is: differences in σ, or curves laid over each other."""

from __future__ import annotations

from collections.abc import Iterable

from matplotlib.figure import Figure

from . import figure as differences
from . import overlay_figure, overlay_report, report
from .overlay import Overlay
from .results import Comparison


class Compared(list[Comparison]):
    """The comparisons of the first result with others, and the overlay where they are not all of one kind.

    Parameters
    ----------
    comparisons : iterable of Comparison
        With each other result that is of the same quantities as the first.
    overlay : Overlay, optional
        Of all results, where any is not, or where it was asked for.
    width : {"column", "page", "slide"}
        Of the figure of an overlay.
    """

    def __init__(
        self, comparisons: Iterable[Comparison] = (), overlay: Overlay | None = None, width: str = "column"
    ) -> None:
        super().__init__(comparisons)
        self.overlay, self.width = overlay, width

    def figure(self) -> Figure:
        """Draw the overlay, if there is one, else the differences."""
        if self.overlay is None:
            return differences.figure(self)
        return overlay_figure.figure(self.overlay, self.width)

    def text(self) -> str:
        """Return what is printed of it."""
        if self.overlay is None:
            return report.text(self)
        lines = [overlay_report.text(self.overlay)]
        for comparison in self:
            lines += ["", f"the same quantities: {comparison.b.label} against {comparison.a.label}"]
            lines += [
                f"  {quantity}: {report.summary(comparison, quantity)}"
                for quantity in dict.fromkeys(d.quantity for d in comparison.differences)
            ]
        return "\n".join(lines)
