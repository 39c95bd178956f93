"""Oscillators that take their time where the environment says so: long in a queue, and short here."""

from __future__ import annotations

import os
import time
from typing import Any

from langevin.systems.harmonic import Harmonic

#: Environment variable: seconds that each step takes longer.
SLEEP = "LANGEVIN_TEST_SLEEP"


class SlowHarmonic(Harmonic):
    """Harmonic oscillators whose force sleeps."""

    def force(self, x: Any, t: float, noise: Any) -> Any:
        time.sleep(float(os.environ.get(SLEEP, "0")))
        return super().force(x, t, noise)
