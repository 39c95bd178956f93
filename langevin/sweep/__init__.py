"""A sweep is many runs that differ in a few keys: one file, with one more dimension for each of these.

A run may be cut into shards, too. `units` numbers what one job carries out; `execution` carries them out
through an `executor`, each in a `worker`, or leaves them to a queue (`slurm`, `tasks`). `join` makes the file
of a run of those of its shards, `combine` one file of the members; `langevin.results.members` takes it apart.
"""
