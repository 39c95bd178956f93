"""The landscape of a stored run is evaluated at any configurations."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from langevin.core.capabilities import HasLandscape, LearnsFromData, constrained
from langevin.core.system import Array
from langevin.errors import UserError
from langevin.results.rebuild import rebuilt
from langevin.speech import option

from ..shell import bar
from .points import StoredPoint

#: Numbers in the configurations that are evaluated at once, and their number: bounds memory, and how long
#: Ctrl-C waits.
NUMBERS, ROWS = 2**22, 32

#: Part by which the energies of one configuration may differ between two buildings of one system: a hundred
#: roundings in single precision; where data are learnt, also what other orders of examples make, in whose
#: mini-batches batch-norm has its statistics, and other subsets of measured ones. Another disorder differs by
#: its whole energy.
SAME, SAME_LEARNT = 1e-5, 0.1

#: Below this radius, in units of the sphere's, the direction of a point is rounding.
CENTRE = 1e-8


class RunLandscape:
    """Energies in the disorder of the replica that a point belongs to.

    Raises
    ------
    UserError
        If the system evaluates nothing.
    """

    def __init__(self, point: StoredPoint, threads: int | None = None) -> None:
        settings = point.run.settings
        # What learns evaluates one configuration after the other anyhow.
        single = issubclass(settings.system_class, LearnsFromData)
        self.rows = 1 if single else int(np.clip(NUMBERS // point.x.size, 1, ROWS))
        positions = np.full(self.rows, point.position)
        self.system, self.ensemble = rebuilt(point.run, positions, threads)
        if not isinstance(self.system, HasLandscape):
            raise UserError(
                f"{point.run.path}: system.name = {settings.system_name!r}: it evaluates no configurations "
                "but its own; allowed: systems with an energy of any configuration"
            )
        self.evaluate = self.system.evaluate

    def constrain(self, x: Array) -> Array:
        """Return the projection of x, shape (n, dof), onto the space of configurations."""
        return constrained(self.system, x)

    def values(self, x: Array) -> dict[str, Array]:
        """Return what is known of configurations, shape (n, dof): name → shape (n,), n at most `rows`."""
        short = self.rows - len(x)
        # The system has a fixed number of replicas: what lacks is filled up, and cut off again.
        full = np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) if short else x
        # Configurations that nobody would meet may have no finite energy.
        with np.errstate(all="ignore"):
            known = self.evaluate(full)
        return {name: np.asarray(value, dtype=np.float64)[: len(x)] for name, value in known.items()}

    def pieces(self, count: int) -> Iterator[NDArray[np.int64]]:
        """Yield the indices below `count`, in portions that are evaluated at once."""
        for start in range(0, count, self.rows):
            yield np.arange(start, min(start + self.rows, count))


def survey(
    landscape: RunLandscape,
    place: Callable[[NDArray[np.int64]], Array],
    count: int,
    title: str = "",
    progress: bool = False,
) -> tuple[dict[str, Array], Array]:
    """Evaluate many configurations, with a bar.

    Parameters
    ----------
    place : callable
        Indices, shape (n,) → configurations, shape (n, dof); not yet constrained.

    Returns
    -------
    values : dict
        Name → shape (count,).
    moved : ndarray, shape (count,)
        By which distance the constraint moved each configuration.

    Raises
    ------
    Interrupted
        By Ctrl-C or another signal.
    UserError
        If a configuration has no projection onto the space of configurations.
    """
    values: dict[str, Array] = {}
    moved = np.empty(count)
    with bar(count, title, "point", progress) as tick:
        for index in landscape.pieces(count):
            raw = place(index)
            with np.errstate(all="ignore"):
                x = np.stack([landscape.constrain(row[None])[0] for row in raw])
            if not np.isfinite(x).all() or (_norms(raw) < CENTRE * _norms(x)).any():
                raise UserError(
                    "plane: a point of the grid has no projection onto the space of configurations (the "
                    f"centre of a sphere has none); change {option('grid')} or {option('margin')}"
                )
            moved[index] = _norms(x - raw)
            for name, value in landscape.values(x).items():
                values.setdefault(name, np.empty(count))[index] = value
            tick(len(index))
    return values, moved


def _norms(x: Array) -> Array:
    return np.asarray(np.linalg.norm(x, axis=1), dtype=np.float64)


def require_same_disorder(
    landscape: RunLandscape, first: StoredPoint, other: StoredPoint, threads: int | None
) -> None:
    """Make sure that another run's configuration lives in the landscape of the first.

    With one seed and sample it does. Else its energy in its own run tells, unless both learn from data of one
    hash: then it may be another training subset, and the first run's counts.

    Raises
    ------
    UserError
        If the two runs disagree about its energy, or what never changes beside configurations differs.
    """
    one, two = first.constants, other.constants
    if one.shape != two.shape or (one != two).any():
        raise UserError(
            f"{other.said}: what is frozen there differs from that of {first.said} (parameters that do not "
            "descend, buffers that do not change); the points of a plane must be weights of one network"
        )
    hashes = [str(point.run.attributes.get("data_hash", "")) for point in (first, other)]
    if first.disorder == other.disorder or "" != hashes[0] == hashes[1]:
        return
    own = float(RunLandscape(other, threads).values(other.x[None])["energy"][0])
    here = float(landscape.values(other.x[None])["energy"][0])
    part = SAME_LEARNT if issubclass(first.run.settings.system_class, LearnsFromData) else SAME
    if not abs(own - here) <= part * max(abs(own), abs(here)):
        raise UserError(
            f"{other.said}: its energy is {own:.6g}, but {here:.6g} in the disorder of {first.said}; "
            "the points of a plane must share ensemble.seed and sample, or have no disorder"
        )
