"""Roots without scipy are scipy's."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import brentq as reference

from langevin.systems.roots import brentq


@pytest.mark.parametrize("xtol", [2e-12, 1e-15, 1e-6])
def test_roots_are_those_of_scipy_bit_by_bit(xtol: float) -> None:
    rng = np.random.default_rng(3)
    compared = 0
    for _ in range(300):
        a, b, c, d = rng.standard_normal(4).tolist()
        low, high = sorted(rng.uniform(-3, 3, 2).tolist())
        for f in (
            lambda x, a=a, b=b, c=c: a + b * x + c * x**3,
            lambda x, a=a, b=b: math.exp(a * x) - 3 * abs(b) - 0.1,
            lambda x, c=c, d=d: math.atan(20 * (x - c)) + d / 10,
        ):
            if f(low) * f(high) < 0:
                compared += 1
                assert brentq(f, low, high, xtol) == reference(f, low, high, xtol=xtol)
    assert compared > 100


def test_an_end_may_be_a_root_and_there_must_be_one() -> None:
    assert brentq(lambda x: x, 0.0, 1.0) == 0.0
    assert brentq(lambda x: x - 1, 0.0, 1.0) == 1.0
    with pytest.raises(ValueError, match="no change of sign between 1 and 2"):
        brentq(lambda x: x, 1.0, 2.0)
