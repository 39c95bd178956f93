"""Shared helpers. Statistical tests fix their seeds and state the chance of a false alarm."""

from __future__ import annotations

import os
import signal
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import curve_ends
import numpy as np
import pytest

from langevin.config import registry, sections, templates
from langevin.core.capabilities import Deterministic

ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of `pytest -n` its share of the processors.

    Else every one starts as many threads as there are processors, and they wait for each other. Tests of
    threads ask for a number of them, and get it; numba, which allows as many as it finds processors, is told
    how many there are.
    """
    # What tests run, nobody's home remembers.
    state = tempfile.TemporaryDirectory(prefix="langevin-state-")
    os.environ["LANGEVIN_STATE"] = state.name
    # What names no device runs on the CPU, in this process and in those that it starts.
    os.environ["LANGEVIN_DEVICE"] = "cpu"
    # cuBLAS reads it when it starts: tests of equal bits may come after others.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    config.add_cleanup(state.cleanup)
    # A suite that runs in the background ignores Ctrl-C, and so would all that it starts.
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker and hasattr(os, "sched_setaffinity"):
        found = sorted(os.sched_getaffinity(0))
        os.environ.setdefault("NUMBA_NUM_THREADS", str(len(found)))
        workers = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
        os.sched_setaffinity(0, found[int(worker.removeprefix("gw")) % len(found) :: workers])


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("no GPU here")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print the counts of the campaigns, whatever they came to."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, said in getattr(report, "user_properties", ()):
                if name == "campaign" and report.when == "call":
                    terminalreporter.write_line(said)


#: A two-sided Gaussian test at 5 σ errs once in 1.7 million; every z-test of the suite together, once in 10⁴.
SIGMAS = 5.0


def z_score(values: Any, expected: float, axis: int = 0) -> np.ndarray:
    """Distance of the mean from `expected` in units of its standard error, from independent values."""
    values = np.asarray(values, dtype=float)
    error = values.std(axis=axis, ddof=1) / np.sqrt(values.shape[axis])
    return np.asarray((values.mean(axis=axis) - expected) / error)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Let torch compute on one thread: sums run in one order, and small nets gain nothing from more."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request: pytest.FixtureRequest) -> str:
    """Return a device that a test of networks runs on: both, where there is a GPU."""
    return str(request.param)


#: What keeps the systems of a template small.
SMALL_SYSTEMS: dict[str, dict[str, Any]] = {
    "toy": {"hidden": 10},
    "fully_connected": {"hidden": 10},
    "small_net": {"filters": [2, 3], "hidden": 10},
    "resnet18": {"width": 2},
    "vgg16": {"width": 1},
    "preresnet": {"depth": 8, "block": "basic", "width": 1},
    "resnet158": {"depth": 8, "width": 1},
    "wide_resnet": {"depth": 10, "widening": 1, "width": 1},
    "mlp": {"widths": [3]},
    "gru": {"hidden": 3, "embedding": 2},
    "lstm": {"hidden": 3, "embedding": 2},
    # No smaller box holds the cutoff twice; what they start from need not be equilibrium.
    "kob_andersen": {"n": 150, "equilibration_time": 0.002},
    "particles": {"n": 64, "equilibration_time": 0.002},
}


#: Networks that differ from others by their module alone: what is true of these is tested of the others, in
#: less time, and of these in the slow tests. resnet158 (batch-norm) and small_net stand for them.
ALIKE = ("gru", "lenet", "lstm", "preresnet", "resnet18", "vgg16", "wide_resnet")


def every_system() -> list[Any]:
    """Return the names of all registered systems, as parameters of tests; some in the slow tests alone."""
    names = sorted(registry.names())
    return [pytest.param(name, marks=pytest.mark.slow if name in ALIKE else ()) for name in names]


def learns(name: str) -> bool:
    """Whether a system descends on mini-batches of data."""
    return "batch_size" in sections.dynamics_keys(registry.load(name)).model_fields


@pytest.fixture(scope="session")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for the ends of curves."""
    return tmp_path_factory.mktemp("ends")


@pytest.fixture
def small(ends: Path) -> Callable[..., dict[str, Any]]:
    """Return a maker of small settings for any registered system, from its own template."""

    def make(name: str, **overrides: Any) -> dict[str, Any]:
        given = tomllib.loads(templates.template(name))
        given["dynamics"]["t_max"] = 1.0
        given["ensemble"] = {"replicas": 4, "samples": 2, "seed": 7}
        if issubclass(registry.load(name), Deterministic):
            given["ensemble"] = {"replicas": 1, "samples": 1}
        given["record"] = {"waiting_times": [0.0, 0.1, 0.4], "lags": {"per_decade": 5}}
        given["output"] = {"figure": False}
        given["system"] |= SMALL_SYSTEMS.get(name, {})
        if name in curve_ends.OF:
            given["system"]["start"] = str(curve_ends.make(name, ends / f"{name}.nc", 4, 2))
            given["record"]["positions"] = 5
        if learns(name):
            given["dynamics"] |= {"t_max": 20, "batch_size": 8}
            given["record"] |= {
                "times": {"per_decade": 2},
                "waiting_times": [0, 5],
                "lags": {"per_decade": 2},
                "energy_examples": 20,
                "gradient_examples": 20,
            }
        if "data" in given:
            # Nothing to download, and of the shape that the system expects.
            name, few = given["data"]["name"], {"train": 32, "test": 32}
            synthetic = {"name": "synthetic", "like": given["data"].get("like", name)}
            own = {"ljat": {"points": 500}, "characters": {"length": 3, "letters": 3, "order": 1}}
            given["data"] = {"name": name, **few, **own[name]} if name in own else synthetic | few
        for dotted, value in overrides.items():
            section, key = dotted.split("__")
            given[section][key] = value
        return given

    return make
