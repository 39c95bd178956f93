"""
A system of one's own
=====================

You write a force and an energy, and get the engine: Langevin dynamics, grids of times, two-time
observables, files, figures. This is the whole of ``double_well.py``:

.. literalinclude:: /examples/double_well.py
   :language: python

The run file, here a dictionary, names the class as ``module:Class``; the module is looked for beside the
run file, then where Python looks.
"""

import langevin

wells = langevin.run(
    {
        "title": "Particles leave the left well",
        "system": {"name": "double_well:DoubleWell", "n": 100},
        "dynamics": {"temperature": 0.25, "dt": 0.02, "t_max": 100.0},
        "ensemble": {"replicas": 8},
        "record": {"waiting_times": [1.0, 10.0], "lags": {"start": 0.1, "per_decade": 10}},
    }
)
figure = langevin.plot(wells)

# %%
# **Is it right?** In equilibrium particles have the density exp(−V/T)/Z, and their energy is a quotient of
# two integrals. At late times the run must agree within its errors, and within O(dt) of the step.

import numpy as np

from langevin.observables.statistics import average

x = np.linspace(-4, 4, 20001)
v = x**4 / 4 - x**2 / 2
weight = np.exp(-v / 0.25)
exact = float((v * weight).sum() / weight.sum())
late = wells["energy"].sel(time=slice(30, None)).mean("time")
mean, error = average(late)
print(f"energy: {float(mean):.4f} ± {float(error):.4f}, in equilibrium {exact:.4f}")
