"""The global attributes of a file say where a result comes from."""

from __future__ import annotations

import platform
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from langevin.code import user_code
from langevin.config.settings import Settings
from langevin.core.capabilities import ReadsInputs, RunsOnDevice
from langevin.core.ensemble import Ensemble
from langevin.core.system import LoadedData, System
from langevin.machine.processor import device
from langevin.version import __version__

PACKAGES = ("numpy", "numba", "scipy", "xarray", "netCDF4", "torch")


def attributes(
    settings: Settings, ensemble: Ensemble, system: System, data: LoadedData | None = None
) -> dict[str, str | int | float]:
    """Return the global attributes that say how to make the file again."""
    learned = {}
    if data is not None:
        learned = {"data": settings.data_name, **{f"data_{k}": v for k, v in data.attributes.items()}}
    if isinstance(system, ReadsInputs):
        learned["inputs_hash"] = system.inputs_hash
    return {
        "Conventions": "CF-1.11",
        "title": settings.title,
        "source": f"langevin {__version__}",
        "system": settings.system_name,
        **learned,
        "run_file": settings.text,
        "settings": settings.as_json(),
        **code(settings),
        # netCDF's widest integer has 64 bits, a seed may have more.
        "seed": str(settings.ensemble.seed),
        "versions": versions(),
        "commit": commit(),
        "device": device_of(system),
        "threads": ensemble.threads,
        "history": history_line("run"),
    }


def code(settings: Settings) -> dict[str, str]:
    """Return the attribute that says which code of the user's was run; nothing if none was."""
    said = user_code.recorded(settings.code)
    return {"code": said} if said else {}


def versions() -> str:
    """Return Python's and the numerical packages' versions, "name version, …"."""
    installed = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            installed.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(installed)


def commit() -> str:
    """Return the git commit of the source tree, marked "-dirty" if changed; "release" outside a checkout."""
    folder = Path(__file__).parents[1]
    if not (folder.parent / ".git").exists():
        return "release"
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return said.stdout.strip() or "unknown"


def device_of(system: System) -> str:
    """Return the name of what the system runs on: the processor's, where the system does not say it."""
    return system.device_name if isinstance(system, RunsOnDevice) else device()


def where(system: System) -> str:
    """Return what may have changed when a run goes on: the versions, and the device."""
    return f"{versions()}, on {device_of(system)}"


def history_line(action: str) -> str:
    """Return a line for the `history` attribute: when, and with which command."""
    when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv else "python"
    return f"{when} {action}: {command}"
