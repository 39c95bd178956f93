r"""Three atoms with a pair attraction and a three-body repulsion: potential, minima, steepest descent.

Lennard-Jones pairs and the Axilrod-Teller term, in units of the Lennard-Jones energy and length,

    V = 4 Σ_pairs (r⁻¹² − r⁻⁶) + Z (1 + 3 cosθ₁ cosθ₂ cosθ₃)/(r₁₂ r₁₃ r₂₃)³,

θ_i the angle at atom i. In the squares a = r₁₂², b = r₁₃², c = r₂₃², with s = abc and, by the law of cosines,
8 s cosθ₁ cosθ₂ cosθ₃ = P = (a + b − c)(a + c − b)(b + c − a),

    V = 4 Σ (a⁻⁶ − a⁻³) + Z s^{-3/2} (1 + 3P/(8s)),
    ∂V/∂a = 4(−6 a⁻⁷ + 3 a⁻⁴) − (3/2)(Z s^{-3/2}/a)(1 + 5P/(8s)) + (3/8) Z s^{-5/2} ∂P/∂a,
    ∂P/∂a = (a + c − b)(b + c − a) + (a + b − c)(b + c − a) − (a + b − c)(a + c − b),

and the force on atom 1 is −2 (∂V/∂a (x₁ − x₂) + ∂V/∂b (x₁ − x₃)). At Z = 2 there are four minima: the
equilateral triangle, and the three lines with one of the atoms in the middle.

Steepest descent, ẋ = −∂V/∂x, is integrated by the pairs of orders 3 and 2 of Bogacki and Shampine (1989), in
the plane of the three atoms, which it never leaves. Only +, ×, / and √ are used, and nothing is reordered:
the same starts end in the same minima on every machine.
"""

from __future__ import annotations

import math

import numpy as np

from langevin.systems.compiling import njit

#: Strength of the three-body term.
Z = 2.0

#: Distances (r₁₂, r₁₃, r₂₃) of the four minima: the triangle; atom 1, 2, 3 in the middle of the line.
TRIANGLE, LINE = 1.1687523174, 1.1087628942
MINIMA = np.array(
    [[TRIANGLE, TRIANGLE, TRIANGLE], [LINE, LINE, 2 * LINE], [LINE, 2 * LINE, LINE], [2 * LINE, LINE, LINE]]
)

#: Distances this close to a minimum, all three, and a descent is over: far inside of its basin.
NEAR = 0.02
#: Steps after which a descent is given up; they take some hundred.
MOST = 100_000

# No fastmath: labels must not depend on the order that a compiler finds best.
OPTIONS = {"nogil": True, "error_model": "numpy"}


@njit(**OPTIONS)
def energy(r12, r13, r23):
    """Return V of three distances."""
    a, b, c = r12 * r12, r13 * r13, r23 * r23
    p = (a + b - c) * (a + c - b) * (b + c - a)
    s = a * b * c
    total = Z * (1 + 3 * p / (8 * s)) / (s * math.sqrt(s))
    for square in (a, b, c):
        inverse = 1 / (square * square * square)
        total += 4 * inverse * (inverse - 1)
    return total


@njit(**OPTIONS)
def _slope(a, b, c):
    """Return ∂V/∂a, b and c of equal standing."""
    u, v, w = a + b - c, a + c - b, b + c - a
    s = a * b * c
    three = Z / (s * math.sqrt(s))
    inverse = 1 / a
    cube = inverse * inverse * inverse
    pair = 12 * cube * inverse * (1 - 2 * cube)
    by_p = v * w + u * w - u * v
    return pair - 1.5 * three * inverse * (1 + 5 * u * v * w / (8 * s)) + 0.375 * three / s * by_p


@njit(**OPTIONS)
def forces(x, force):
    """Write −∂V/∂x of three atoms in the plane, x of shape (6,): x₁, y₁, x₂, y₂, x₃, y₃."""
    x12, y12, x13, y13, x23, y23 = (
        x[0] - x[2],
        x[1] - x[3],
        x[0] - x[4],
        x[1] - x[5],
        x[2] - x[4],
        x[3] - x[5],
    )
    a, b, c = x12 * x12 + y12 * y12, x13 * x13 + y13 * y13, x23 * x23 + y23 * y23
    by_a, by_b, by_c = 2 * _slope(a, b, c), 2 * _slope(b, a, c), 2 * _slope(c, a, b)
    force[0], force[1] = -by_a * x12 - by_b * x13, -by_a * y12 - by_b * y13
    force[2], force[3] = by_a * x12 - by_c * x23, by_a * y12 - by_c * y23
    force[4], force[5] = by_b * x13 + by_c * x23, by_b * y13 + by_c * y23


@njit(**OPTIONS)
def _place(distances, x):
    """Write the positions in the plane of atoms with distances (r₁₂, r₁₃, r₂₃)."""
    r12, r13, r23 = distances
    along = (r12 * r12 + r13 * r13 - r23 * r23) / (2 * r12)
    x[0] = x[1] = x[3] = 0.0
    x[2], x[4] = r12, along
    x[5] = math.sqrt(max(0.0, r13 * r13 - along * along))


@njit(**OPTIONS)
def _minimum(x, minima):
    """Return the number of the minimum that x is near; −1 if there is none."""
    r12 = math.sqrt((x[0] - x[2]) ** 2 + (x[1] - x[3]) ** 2)
    r13 = math.sqrt((x[0] - x[4]) ** 2 + (x[1] - x[5]) ** 2)
    r23 = math.sqrt((x[2] - x[4]) ** 2 + (x[3] - x[5]) ** 2)
    for k in range(minima.shape[0]):
        off = max(abs(r12 - minima[k, 0]), abs(r13 - minima[k, 1]), abs(r23 - minima[k, 2]))
        if off < NEAR:
            return k
    return -1


@njit(**OPTIONS)
def _descend(x, tolerance, minima, work):
    """Follow steepest descent from x; return the minimum's number, −1 if none was reached in `MOST` steps."""
    k1, k2, k3, k4, y = work[0], work[1], work[2], work[3], work[4]
    forces(x, k1)
    step = 0.01 * tolerance / max(tolerance, np.abs(k1).max())
    for _ in range(MOST):
        for i in range(6):
            y[i] = x[i] + step * 0.5 * k1[i]
        forces(y, k2)
        for i in range(6):
            y[i] = x[i] + step * 0.75 * k2[i]
        forces(y, k3)
        for i in range(6):
            y[i] = x[i] + step * (2 * k1[i] + 3 * k2[i] + 4 * k3[i]) / 9
        forces(y, k4)
        error = 0.0
        for i in range(6):
            error = max(error, abs(step * (-5 * k1[i] / 72 + k2[i] / 12 + k3[i] / 9 - k4[i] / 8)))
        # A step into a singularity gives NaN, which is no small error.
        if error <= tolerance:
            for i in range(6):
                x[i], k1[i] = y[i], k4[i]
            number = _minimum(x, minima)
            if number >= 0:
                return number
        ratio = 0.9 * (tolerance / error) ** (1 / 3) if error > 0 else 5.0
        step *= min(5.0, max(0.2, ratio))
    return -1


@njit(**OPTIONS)
def label(distances, tolerance, minima, labels):
    """Write to `labels`, shape (P,), the minimum below each start with distances (r₁₂, r₁₃, r₂₃), (P, 3)."""
    x, work = np.empty(6), np.empty((5, 6))
    for n in range(distances.shape[0]):
        _place(distances[n], x)
        labels[n] = _descend(x, tolerance, minima, work)
