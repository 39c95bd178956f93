"""
A sweep
=======

You vary keys of a run, and get one result with one more dimension for each of them. Members run side by
side, each with checkpoints of its own; here oscillators, of which everything is known, at three
temperatures.
"""

import langevin

sweep = langevin.run(
    {
        "title": "Oscillators at three temperatures",
        "system": {"name": "harmonic", "n": 500},
        "dynamics": {"temperature": 0.1, "initial_temperature": 1.0, "dt": 0.02, "t_max": 5.0},
        "ensemble": {"replicas": 8},
        "sweep": {"dynamics.temperature": [0.1, 0.5, 2.0]},
    },
    executor="in_process",
)
sweep["energy"].dims

# %%
# One figure shows all members; ``at=["temperature=0.5"]`` would show one of them as a single run.

figure = langevin.plot(sweep)

# %%
# :func:`langevin.members` takes a sweep apart again. In equilibrium ⟨E⟩ = T/2 for each oscillator.
# Members share the seed, and with it the noise: their deviations from T/2 go together.

from langevin.observables.statistics import average

for labels, member in langevin.members(sweep):
    mean, error = average(member["energy"])
    print(f"T = {labels['temperature']:g}: E = {float(mean[-1]):.4f} ± {float(error[-1]):.4f}")
