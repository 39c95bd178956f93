"""What the scheduler sends to its workers: it stands alone, and crosses by value, since they may lack all."""

# ruff: noqa: PLC0415 -- what it needs is looked for where it runs
from typing import Any


def at_worker(job: dict[str, Any], orders: dict[str, Any]) -> tuple[str, str]:
    """Carry out a job in a worker of Dask, or say why this worker cannot.

    Parameters
    ----------
    job : dict
    orders : dict
        As `langevin.sweep.executors.cluster.relay.carry` takes them, with "version" and "sources" of the
        package that gives them.

    Returns
    -------
    tuple of str
        Kind and reason, as an `Outcome`; "unfit": no job can be done here.
    """
    import socket
    import sys

    here = f"the worker on {socket.gethostname()} ({sys.executable})"
    try:
        from langevin.sweep.executors.cluster import relay
    except ImportError as error:
        return "unfit", f"{here} has no langevin that carries out jobs: {error}; install the same there"
    if (other := relay.difference(orders["version"], orders["sources"])) is not None:
        return "unfit", f"{here} has {other}; install the same there"
    return relay.carry(job, orders)
