"""Numbers are printed in one way, in legends, in words and along axes: 0.316, 31.6, 10², 3.16 × 10³.

Numbers that stand together are printed together: where one of them takes a power of ten, all of a hundred and
more, and all below a tenth, do.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import Formatter, LogFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

#: Numbers from the first to below the second are printed without a power of ten, unless they are one.
PLAIN = (0.01, 9999.5)

#: Last over first of a logarithmic axis up to which powers of ten alone are too few labels, and up to which
#: 1, 2 and 5 are.
FEW, FEWER = 30.0, 3.0

#: Last over first of a logarithmic x axis from which on 1, 2 and 5 have no room beside each other.
_CROWDED = 10.0


def numbers(values: Iterable[float]) -> list[str]:
    """Return numbers that stand together as they are printed, with three digits each.

    >>> numbers([1.0, 31.6, 316.0])
    ['1', '31.6', '316']
    >>> numbers([1.0, 31.6, 100.0, 316.0])
    ['1', '31.6', '$10^{2}$', '$3.16\\\\times 10^{2}$']
    """
    own = [float(value) for value in values]
    powers = any(map(_is_power, own))
    return [_printed(value, powers) for value in own]


def number(value: float) -> str:
    """Return a number that was measured, with three digits: a power of ten where it is large or small.

    >>> number(0.05), number(100.2), number(1780.0), number(1e4)
    ('0.05', '100', '1780', '$10^{4}$')
    """
    own = float(value)
    return _printed(own, not PLAIN[0] <= abs(own) < PLAIN[1])


def moment(value: float) -> str:
    """Return a point of an axis that stands alone, such as a waiting time, as legends and axes print it.

    >>> moment(31.6), moment(100.0)
    ('31.6', '$10^{2}$')
    """
    return numbers([value])[0]


def _is_power(value: float) -> bool:
    """Say whether a number takes a power of ten: it is large, small, or such a power from 10² or 10⁻² on."""
    size = abs(value)
    if size == 0 or not math.isfinite(size):
        return False
    digits, _, power = f"{size:.2e}".partition("e")
    return not PLAIN[0] <= size < PLAIN[1] or (digits == "1.00" and abs(int(power)) > 1)


def _printed(value: float, powers: bool) -> str:
    size, sign = abs(value), "−" if value < 0 else ""
    if math.isinf(size):
        return f"{sign}∞"
    if powers and size != 0 and not 0.09995 <= size < 99.95:
        digits, _, power = f"{size:.2e}".partition("e")
        digits = digits.rstrip("0").rstrip(".")
        return (
            f"${'-' * bool(sign)}" + (rf"{digits}\times " if digits != "1" else "") + f"10^{{{int(power)}}}$"
        )
    # Whole numbers keep all of their four digits.
    return sign + (f"{size:.0f}" if size == round(size) and size < PLAIN[1] else f"{float(f'{size:.3g}'):g}")


class Numbers(Formatter):
    """Print the ticks of an axis as `numbers`."""

    def __call__(self, value: float, pos: int | None = None) -> str:
        """Return one tick."""
        return number(value)

    def format_ticks(self, values: Sequence[float]) -> list[str]:
        """Return all ticks; those beyond the ends of the axis, which are not drawn, have no say."""
        self.set_locs(list(values))
        low, high = sorted(self.axis.get_view_interval()) if self.axis is not None else (-math.inf, math.inf)
        near = 1e-9
        seen = [float(v) for v in values if low - near * abs(low) <= v <= high + near * abs(high)]
        printed = dict(zip(seen, numbers(seen), strict=True))
        return [printed.get(float(v), "") for v in values]


def finish(drawn: Figure) -> None:
    """Print the numbers along the logarithmic axes of a figure, when its limits are known.

    Axes over few decades get labels at 1, 2 and 5, or 1 and 3, of each, of half a decade at round numbers.
    Ticks and labels that a figure has chosen itself stay.
    """
    for ax in drawn.axes:
        if ax.get_label() != "<colorbar>":
            for axis in (ax.xaxis, ax.yaxis):
                _finish_axis(ax, axis)


def _finish_axis(ax: Axes, axis: Axis) -> None:
    if axis.get_scale() not in ("log", "symlog") or not isinstance(axis.get_major_formatter(), LogFormatter):
        return
    axis.set_major_formatter(Numbers())
    low, high = sorted(axis.get_view_interval())
    if axis.get_scale() == "symlog" or not isinstance(axis.get_major_locator(), LogLocator):
        return
    axis.set_minor_formatter(NullFormatter())
    powers = math.floor(math.log10(high) + 1e-9) - math.ceil(math.log10(low) - 1e-9) + 1
    if high >= FEW * low and powers > 1:
        return
    if high < FEWER * low:
        axis.set_major_locator(MaxNLocator(4, steps=[1, 2, 2.5, 5, 10]))
        axis.set_minor_locator(NullLocator())
        return
    crowded = axis is ax.xaxis and high > _CROWDED * low
    axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if crowded else (1.0, 2.0, 5.0)))
