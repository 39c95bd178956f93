"""[cluster] is declared here: the queue whose jobs are workers of Dask.

The table stands in the user's configuration, or in a file that --cluster names. Keys that are not declared
here are those of the queue's class in dask-jobqueue (`SLURMCluster` and so on), and go there as they are.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from langevin.config import toml_text
from langevin.config.keys import Section, key, section, shown
from langevin.errors import ConfigError, UserError
from langevin.machine.duration import seconds
from langevin.machine.extras import require_package
from langevin.machine.interruption import handlers_kept

if TYPE_CHECKING:
    from dask_jobqueue.core import JobQueueCluster

#: Environment variable with the path of the user's configuration.
VARIABLE = "LANGEVIN_CONFIG"

Queue = Literal["slurm", "pbs", "sge", "lsf", "htcondor", "oar", "moab"]

#: By which command of a queue a user asks for the state of jobs.
ASKED_BY = {
    "slurm": "squeue --me",
    "pbs": "qstat",
    "sge": "qstat",
    "lsf": "bjobs -p",
    "htcondor": "condor_q -better-analyze",
    "oar": "oarstat",
    "moab": "showq",
}

#: Classes of dask-jobqueue whose names are not that of the queue in capitals.
_CLASSES = {"htcondor": "HTCondorCluster", "moab": "MoabCluster"}

#: Keywords of these classes that are no keys: objects of Python, what this program sets itself, and names
#: that have been replaced.
_NOT_KEYS = {
    *("self", "scheduler", "name", "job_cls", "loop", "asynchronous", "scheduler_cls", "security", "host"),
    *(
        "n_workers",
        "nanny",
        "processes",
        "worker_command",
        "silence_logs",
        "dashboard_address",
        "config_name",
    ),
    *("extra", "job_extra", "env_extra", "header_skip", "kwargs", "job_kwargs", "base_class_kwargs"),
}


class DeclaredKeys(Section):
    """[cluster], without the keys of the queue."""

    queue_system: Queue = key("whose jobs are the workers", example="slurm")
    maximum_jobs: int = key("jobs at once; there are as many as members need", default=10, ge=1)
    retries: int = key(
        "how often a member is begun again that has lost its worker without having come further",
        default=3,
        ge=0,
    )
    threads_per_member: int = key("processors of a job that each member uses", default=1, ge=1)


class ClusterKeys(DeclaredKeys):
    """[cluster], with the keys of the queue as `options`."""

    options: dict[str, Any] = key("keys of the queue's class", default={})

    @property
    def capacity(self) -> int:
        """Members that are carried out at once by all jobs."""
        return self.maximum_jobs * max(1, int(self.option("cores") or 1) // self.threads_per_member)

    def option(self, name: str) -> Any:
        """Return the value of one of the queue's keys: as given, else from Dask's own configuration."""
        import dask

        default = dask.config.get(f"jobqueue.{self.queue_system}.{name.replace('_', '-')}", None)
        return self.options.get(name, default)

    @property
    def walltime(self) -> float | None:
        """Seconds after which the queue ends a job; None where it does not say."""
        given = self.option("walltime")
        if given is None or self.queue_system == "htcondor":
            return None
        text = str(given)
        if self.queue_system == "lsf" and text.count(":") == 1:
            # There it is hours and minutes.
            text += ":00"
        return seconds(text, "cluster.walltime")


def queue_class(queue_system: str) -> type[JobQueueCluster]:
    """Return the class of dask-jobqueue for a queue."""
    require_package("dask_jobqueue", "[cluster]", "cluster")
    with handlers_kept():
        import dask_jobqueue

    kind: type[JobQueueCluster] = getattr(
        dask_jobqueue, _CLASSES.get(queue_system, f"{queue_system.upper()}Cluster")
    )
    return kind


def queue_keys(queue_system: str) -> list[str]:
    """Return the keys that the class of a queue takes."""
    kind = queue_class(queue_system)
    names = [
        name
        for part in (*kind.__mro__, *kind.job_cls.__mro__)
        if part is not object and "__init__" in vars(part) and part.__module__.startswith("dask_jobqueue")
        for name in inspect.signature(part.__init__).parameters
    ]
    return sorted({*names} - _NOT_KEYS)


def parsed(given: Any, source: str) -> ClusterKeys:
    """Return the keys of a table [cluster].

    Raises
    ------
    ConfigError
        All its faults at once.
    """
    faults: list[str] = []
    table = dict(given) if isinstance(given, Mapping) else given
    system = table.get("queue_system") if isinstance(table, dict) else None
    options: dict[str, Any] = {}
    if isinstance(table, dict) and system in get_args(Queue):
        allowed = queue_keys(str(system))
        options = {name: table.pop(name) for name in list(table) if name in allowed}
        further = tuple(allowed)
    else:
        further = ()
    keys = section("cluster", DeclaredKeys, table, faults, further)
    if keys is None:
        raise ConfigError(faults, source)
    keys = ClusterKeys(**keys.model_dump(), options=options)
    faults += _option_faults(keys)
    if faults:
        raise ConfigError(faults, source)
    return keys


def _option_faults(keys: ClusterKeys) -> list[str]:
    faults = []
    for name, example in (("cores", 4), ("memory", '"8GB"')):
        if keys.option(name) is None:
            faults.append(f"cluster.{name}: missing; needed: of one job, for instance {name} = {example}")
    cores = keys.option("cores")
    if cores is not None and (type(cores) is not int or cores < keys.threads_per_member):
        faults.append(
            f"cluster.cores = {cores!r}: allowed: an integer ≥ threads_per_member = {keys.threads_per_member}"
        )
    for name in ("worker_extra_args", "job_extra_directives", "job_script_prologue", "job_directives_skip"):
        value = keys.options.get(name, [])
        # The class of the queue would take a word letter by letter.
        words = isinstance(value, list) and all(isinstance(word, str) for word in value)
        if not words and not (keys.queue_system == "htcondor" and isinstance(value, dict)):
            faults.append(f"cluster.{name} = {shown(value)}: allowed: a list of strings")
    try:
        _ = keys.walltime
    except UserError as error:
        faults.append(str(error))
    return faults


def read(path: Path) -> ClusterKeys:
    """Return the table [cluster] of a file."""
    given = toml_text.parse(toml_text.read(path), path)
    if "cluster" not in given:
        raise UserError(f'{path}: no table [cluster] in it; needed: [cluster] with queue_system = "slurm"')
    if others := [name for name in given if name != "cluster"]:
        raise UserError(f"{path}: {others[0]}: allowed: [cluster] alone")
    return parsed(given["cluster"], str(path))


def user_path() -> Path:
    """Return where the user's configuration stands, if there is one."""
    import platformdirs

    own = Path(platformdirs.user_config_dir("langevin", appauthor=False)) / "config.toml"
    return Path(os.environ.get(VARIABLE) or own)


def of_the_user() -> ClusterKeys | None:
    """Return [cluster] of the user's configuration; None if there is none."""
    path = user_path()
    return read(path) if path.exists() else None
