"""Durations are read as people and queues write them: seconds, 23h50m, 1-12:00:00; and said in few digits."""

from __future__ import annotations

import re
from numbers import Real
from typing import Any

from langevin.errors import UserError

#: Seconds of the units of "1d2h30m15s".
_UNITS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}

_NUMBER = r"\d+(?:\.\d*)?|\.\d+"
_SPELLED = re.compile(r"\s*".join(rf"(?:({_NUMBER})\s*{unit})?" for unit in _UNITS))
#: As Slurm has it: days-hours[:minutes[:seconds]], hours:minutes:seconds, minutes:seconds.
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")

#: From how many seconds on a unit is used, its length in seconds, its name.
_SAID_IN = (
    (2 * 86400.0, 86400.0, "days"),
    (3600.0, 3600.0, "h"),
    (60.0, 60.0, "min"),
    (1.0, 1.0, "s"),
    (1e-3, 1e-3, "ms"),
    (1e-6, 1e-6, "µs"),
    (0.0, 1e-9, "ns"),
)

ALLOWED = "seconds, such as 3600, or 90s, 50m, 23h50m, 1d2h, 01:30:00 (hours first), 1-12:00:00 (days first)"


def seconds(given: float | str, name: str = "wall_time") -> float:
    """Return a duration in seconds.

    Parameters
    ----------
    given : float or str
        Seconds; or one of the forms of `ALLOWED`. As in Slurm, "30:00" is 30 minutes, "1-12" a day and 12
        hours; but a number alone is seconds.
    name : str
        What an error calls it.

    Raises
    ------
    UserError
        If it is none of these, or not above 0.
    """
    duration: Any = _spoken(given) if isinstance(given, str) else given
    plain = isinstance(duration, Real) and not isinstance(given, bool)
    if not plain or not 0 < duration <= _LONGEST:
        raise UserError(f"{name} = {str(given)[:40]!r}: allowed: {ALLOWED}; above 0")
    return float(duration)


#: A century: a number of seconds that nobody means is none that a clock can take, either.
_LONGEST = 100 * 365.25 * 86400.0


def _spoken(text: str) -> float | None:
    text = text.strip().lower()
    # float() alone also reads nan, inf and 1_000.
    if re.fullmatch(_NUMBER, text):
        return float(text)
    if match := _SPELLED.fullmatch(text):
        return sum(float(n or 0) * size for n, size in zip(match.groups(), _UNITS.values(), strict=True))
    if match := _CLOCK.fullmatch(text):
        days, *rest = match.groups()
        parts = [float(part) for part in rest if part is not None]
        if days is None and len(parts) == 2:
            parts = [0.0, *parts]
        hms = zip(parts, (3600.0, 60.0, 1.0), strict=False)
        return float(days or 0) * 86400.0 + sum(n * size for n, size in hms)
    return None


def spoken(seconds: float) -> str:
    """Return a duration to two digits or so, in the unit that fits."""
    length, name = next((length, name) for least, length, name in _SAID_IN if seconds >= least)
    number = seconds / length
    return f"{number:.{0 if number >= 9.95 else 1}f} {name}"
