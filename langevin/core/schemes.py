"""The stochastic schemes that a run can choose from, and how accurate each is.

Both take one force and one vector of normals a step. With ξ_n standard normal and σ = √(2 T dt),

    euler_maruyama:       x_{n+1} = constrain( x_n + dt·f(x_n) + σ ξ_{n+1} )
    leimkuhler_matthews:  x_{n+1} = constrain( x_n + dt·f(x_n) + σ (ξ_n + ξ_{n+1})/2 )

A scheme is of weak order p if its averages are off by O(dt^p). The orders below hold for additive noise and
smooth forces, without a constraint. Projected onto a sphere both are of order 1, in the stationary state,
too, and the second is the worse one (docs/pspin.md).

What averaging the noise does not improve is short lags: a free coordinate has ⟨(x(t_w + t) − x(t_w))²⟩ =
2T(t − dt/2), half of it after one step. Nor does it the first moments after a start: ξ_0 is drawn apart from
x_0, while the stationary state has ⟨x ξ⟩ = σ/2, and the O(dt) that follows decays exponentially.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

SchemeName: TypeAlias = Literal["euler_maruyama", "leimkuhler_matthews"]


@dataclass(frozen=True)
class Scheme:
    """How accurate a scheme is.

    Attributes
    ----------
    weak_order : int
        Order of averages at a finite time after any start, and between two times.
    stationary_order : int
        Order of one-time averages in the stationary state.
    averages_noise : bool
        Whether a step is moved by the mean of its own normals and those of the step before.
    description : str
        One line, with the reference.
    """

    weak_order: int
    stationary_order: int
    averages_noise: bool
    description: str


SCHEMES: dict[SchemeName, Scheme] = {
    "euler_maruyama": Scheme(
        1, 1, False, "independent noise in every step (G. Maruyama, Rend. Circ. Mat. Palermo 4, 48 (1955))"
    ),
    # At finite times the term of order dt decays exponentially: Proc. R. Soc. A 470, 20140120 (2014).
    "leimkuhler_matthews": Scheme(
        1,
        2,
        True,
        "noise averaged over two steps (B. Leimkuhler and C. Matthews, Appl. Math. Res. Express 2013, 34)",
    ),
}
