"""Planes through stored configurations: the landscape on them, curves and trajectories projected onto them.

The geometry is `langevin.observables.landscape.planes`; the figure, `langevin.plotting.plane`.
"""
