"""By what each axis of an overlay is divided: the keys, what they may be, and what is sensible.

Results of one kind, in one unit, stand as they were measured. Where units or systems differ, each result is
measured by itself (`langevin.observables.scaling`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from langevin.errors import UserError, shortened
from langevin.speech import option

#: Key → what it may be, and what that means.
ALLOWED: dict[str, dict[str, str]] = {
    "time": {
        "measured": "as in the file",
        "scaled": "α·t of a network, α its learning rate; else t in the unit of the file",
        "relaxation": "t/τ₀, τ₀ when the energy has made half of its way",
    },
    "lag": {
        "time": "in the unit of the time",
        "over_waiting_time": "t/t_w",
    },
    "energy": {
        "measured": "as in the file",
        "fraction": "(E − E∞)/(E₀ − E∞)",
    },
    "msd": {
        "measured": "as in the file",
        "plateau": "Δ over its plateau, where the file knows that",
        "limit": "Δ/Δ(t_w, ∞), the msd of two configurations that have nothing in common",
        "at_waiting_time": "Δ(t_w, t_w + t)/Δ(t_w, 2t_w)",
    },
    "correlation": {
        "measured": "as in the file",
        "start": "C/C(t_w, t_w)",
    },
}


@dataclass(frozen=True)
class Scales:
    """What each axis is divided by; each attribute is one of `ALLOWED`, or None: not decided."""

    time: str | None = None
    lag: str | None = None
    energy: str | None = None
    msd: str | None = None
    correlation: str | None = None

    def __getitem__(self, key: str) -> str:
        """Return what is chosen for a key; further two-time observables stand as measured."""
        return getattr(self, key, None) or "measured"

    def over(self, other: Scales) -> Scales:
        """Return these scales, and those of another where nothing is decided here."""
        return Scales(**{key: getattr(self, key) or getattr(other, key) for key in ALLOWED})


#: Where all results are of one quantity, in one unit.
AS_MEASURED = Scales("measured", "time", "measured", "measured", "measured")


def parsed(given: Mapping[str, str] | Iterable[str] | None) -> Scales:
    """Return the scales that a user asks for.

    Parameters
    ----------
    given : mapping of str to str, or iterable of "key=value"
        Keys and values of `ALLOWED`.

    Raises
    ------
    UserError
        If there is no such key or value, or a key stands there twice.
    """
    if isinstance(given, Mapping):
        pairs = list(given.items())
    else:
        pairs = [_pair(text) for text in ([given] if isinstance(given, str) else given or ())]
    chosen: dict[str, str] = {}
    for key, value in pairs:
        said = option("scale", repr(shortened(f"{key}={value}")))
        if key not in ALLOWED:
            raise UserError(f"{said}: unknown key; allowed: {', '.join(ALLOWED)}")
        if value not in ALLOWED[key]:
            raise UserError(f"{said}: allowed for {key}: {', '.join(ALLOWED[key])}")
        if chosen.setdefault(key, value) != value:
            raise UserError(f"{said}: {key} = {chosen[key]} is given, too; give it once")
    return Scales(**chosen)


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals:
        raise UserError(
            f"{option('scale', repr(shortened(text)))}: write key=value; allowed keys: {', '.join(ALLOWED)}"
        )
    return key, value
