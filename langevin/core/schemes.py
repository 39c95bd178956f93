"""A scheme says which noise a stochastic step uses; a run can choose from those here.

Both take one force and one vector of normals a step. With ξ_n standard normal and σ = √(2 T dt),

    euler_maruyama:       x_{n+1} = constrain( x_n + dt·f(x_n) + σ ξ_{n+1} )
    leimkuhler_matthews:  x_{n+1} = constrain( x_n + dt·f(x_n) + σ (ξ_n + ξ_{n+1})/2 )

A scheme is of weak order p if its averages are off by O(dt^p). The orders below hold for additive noise and
smooth forces, without a constraint. Projected onto a sphere both are of order 1, in the stationary state,
too, and the second is the worse one (docs/pspin.md).

Averaging the noise does not improve short lags: a free coordinate has ⟨(x(t_w + t) − x(t_w))²⟩ =
2T(t − dt/2), half of it after one step. Nor does it the first moments after a start: ξ_0 is drawn apart from
x_0, while the stationary state has ⟨x ξ⟩ = σ/2, and the O(dt) that follows decays exponentially.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

SchemeName: TypeAlias = Literal["euler_maruyama", "leimkuhler_matthews"]

Mix: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], Any]
"""(before, drawn, out): writes to `out` the noise of steps, element by element, linear in the other two."""


class StepNoise(NamedTuple):
    """The normals of a step, or of several, in the shape of those that were drawn.

    Attributes
    ----------
    used : ndarray
        Times √(2 T dt) they move the configuration.
    summed : ndarray
        Times √(2 T dt) they are the kicks that the response sums: independent of all earlier steps.
    """

    used: NDArray[np.float64]
    summed: NDArray[np.float64]


@dataclass(frozen=True)
class Scheme:
    """Which noise a step uses, and how accurate that is.

    Attributes
    ----------
    name : str
    weak_order : int
        Order of averages at a finite time after any start, and between two times.
    stationary_order : int
        Order of one-time averages in the stationary state.
    description : str
        One line, with the reference.
    mix : Mix, optional
        Of the normals that the step before drew, and those that a step draws. None: a step uses its own.
    """

    name: str
    weak_order: int
    stationary_order: int
    description: str
    mix: Mix | None = None

    @property
    def holds(self) -> bool:
        """Whether a step needs the normals that the step before drew."""
        return self.mix is not None

    def noise(
        self,
        held: NDArray[np.float64] | None,
        drawn: NDArray[np.float64],
        out: NDArray[np.float64] | None = None,
    ) -> StepNoise:
        """Return the noise of consecutive steps.

        Parameters
        ----------
        held : ndarray, shape (R, dof), optional
            Normals that the step before the first drew; not changed. Needed if the scheme `holds`.
        drawn : ndarray, shape (R, steps, dof)
            Normals that each step draws, or multiples of them, as `held`.
        out : ndarray, shape (R, steps, dof), optional
            Room for the noise that is used.
        """
        if self.mix is None or held is None:
            return StepNoise(drawn, drawn)
        used = np.empty_like(drawn) if out is None else out
        self.mix(held, drawn[:, 0], used[:, 0])
        self.mix(drawn[:, :-1], drawn[:, 1:], used[:, 1:])
        return StepNoise(used, drawn)


@dataclass
class Held:
    """The normals that a scheme holds between the calls of a kernel.

    Attributes
    ----------
    scheme : Scheme
    normals : ndarray, shape (R, dof)
        Those that the last step drew. The kernel replaces them, in place, by the last that it draws.
    """

    scheme: Scheme
    normals: NDArray[np.float64]


def _mean(before: NDArray[np.float64], drawn: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    np.add(before, drawn, out=out)
    out *= 0.5


SCHEMES: dict[SchemeName, Scheme] = {
    "euler_maruyama": Scheme(
        "euler_maruyama",
        1,
        1,
        "independent noise in every step (G. Maruyama, Rend. Circ. Mat. Palermo 4, 48 (1955))",
    ),
    # At finite times the term of order dt decays exponentially: Proc. R. Soc. A 470, 20140120 (2014).
    "leimkuhler_matthews": Scheme(
        "leimkuhler_matthews",
        1,
        2,
        "noise averaged over two steps (B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34)",
        _mean,
    ),
}
