"""What the scheduler sends to its workers: it stands alone, and crosses by value, since they may lack all."""

# What these functions need is looked for where they run.
from typing import Any


def unfit(version: str, sources: str) -> str | None:
    """Return why a worker of Dask cannot carry out jobs; None if it can.

    Parameters
    ----------
    version, sources : str
        Of the langevin whose jobs they are.
    """
    import socket
    import sys

    here = f"the worker on {socket.gethostname()} ({sys.executable})"
    try:
        from langevin.sweep.executors.cluster import relay
    except ImportError as error:
        return f"{here} has no langevin that carries out jobs ({error}); install the same there"
    other = relay.difference(version, sources)
    return None if other is None else f"{here} has {other}; install the same there"


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
    why = unfit(orders["version"], orders["sources"])
    if why is not None:
        return "unfit", why
    from langevin.sweep.executors.cluster import relay

    return relay.carry(job, orders)
