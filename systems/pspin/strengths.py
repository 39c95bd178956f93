"""`system.p` of a run file: one p, or the strengths a_p of a mixed model by p."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeAlias

from langevin.errors import shortened

#: The p that kernels are written for.
POWERS = (2, 3, 4)
#: Within it couplings are ordinary numbers of single precision, at any N that fits into memory.
WEAKEST, STRONGEST = 1e-12, 1e12
ALLOWED = "one of 2, 3, 4, or a table of strengths by p, { 3 = 1.0, 4 = 1.0 }"

#: What stands for it in settings: p where f = q^p/2, else the strengths, ascending in p.
Interactions: TypeAlias = int | dict[str, float]


def parsed(given: object) -> Interactions:
    """Return what a run file says, as an integer wherever the model is a pure one of strength 1.

    Raises
    ------
    ValueError
        If it is neither one of 2, 3, 4 nor a table of strengths by them.
    """
    if not isinstance(given, Mapping):
        if isinstance(given, bool) or not isinstance(given, int) or given not in POWERS:
            raise ValueError(f"allowed: {ALLOWED}")
        return int(given)
    if not given:
        raise ValueError(f"the table is empty; allowed: {ALLOWED}")
    table: dict[int, float] = {}
    for p, strength in _rows(given):
        if p in table:
            raise ValueError(f"p = {p} stands in it twice; allowed: {ALLOWED}")
        table[p] = strength
    if list(table.values()) == [1.0]:
        return next(iter(table))
    return {str(p): table[p] for p in sorted(table)}


def _rows(given: Mapping[object, object]) -> Iterator[tuple[int, float]]:
    for name, strength in given.items():
        # Keys of TOML are strings.
        p = {str(p): p for p in POWERS}.get(name, name) if isinstance(name, str) else name
        if isinstance(p, bool) or not isinstance(p, int) or p not in POWERS:
            raise ValueError(f"it names p = {shortened(str(name))}; allowed: {ALLOWED}")
        number = isinstance(strength, int | float) and not isinstance(strength, bool)
        if not number or not WEAKEST <= strength <= STRONGEST:  # type: ignore[operator]
            raise ValueError(
                f"the strength of p = {p}: allowed: a number > 0, from {WEAKEST:g} to {STRONGEST:g}"
            )
        yield p, float(strength)  # type: ignore[arg-type]


def strengths(interactions: Interactions) -> dict[int, float]:
    """Return the strengths by p, ascending."""
    if isinstance(interactions, int):
        return {interactions: 1.0}
    return {int(p): a for p, a in interactions.items()}
