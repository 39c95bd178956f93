"""Make the figures of these pages anew, by the program: ``python docs/make_figures.py [NAME …]``.

Without a name all are made. Results stay in a folder (``--results``), and are used again where they are
there, so that a change of how figures look costs no run. With ``--quick`` the run files of ``runs/smoke``
take the place of the real ones: minutes for all, and what comes out is no figure of these pages, but shows
that none of them has gone stale. ``--list`` says what each figure is made of, and how long its runs take.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"


@dataclass(frozen=True)
class Run:
    """A result: what makes it, where it does not come from ``runs/NAME.toml`` as it stands.

    Attributes
    ----------
    file : str
        Name of the run file, or a command of the program, "connect" or "ensemble", for its `arguments`.
    arguments : tuple of str
        Further ones: of a run ``--set``, of a command its files.
    full : tuple of str
        Those that belong to the real run alone, such as sizes.
    needs : tuple of str
        Results that have to be there before.
    """

    file: str
    arguments: tuple[str, ...] = ()
    full: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """A figure: the results that it shows, how it is drawn, and how long their runs take."""

    results: tuple[str, ...]
    takes: str
    draw: tuple[str, ...] = ("plot",)


def _set(*assignments: str) -> tuple[str, ...]:
    return tuple(part for assignment in assignments for part in ("--set", assignment))


#: Results that are no run file as it stands.
RUNS = {
    "pspin_barriers": Run("pspin_barriers", needs=("pspin_ends",)),
    "inherent_pspin": Run("pspin_inherent", full=_set("dynamics.t_max=100")),
    "inherent_kob_andersen": Run(
        "kob_andersen_inherent",
        full=_set("system.n=150", "system.equilibration_time=0.5", "ensemble.replicas=4"),
    ),
    "alignment": Run("alignment", needs=("alignment_ends",)),
    "five_ck": Run(
        "smoke/ck",
        full=_set(
            "dynamics.t_max=1e4",
            "record.waiting_times=[1, 30, 1000]",
            "record.times={start=0.01, per_decade=10}",
            "record.lags={start=0.01, per_decade=8}",
        ),
    ),
    "five_pspin": Run(
        "smoke/pspin",
        full=_set(
            "system.n=64",
            "dynamics.t_max=300",
            "dynamics.dt=0.05",
            "record.waiting_times=[1, 10, 100]",
            "record.lags={start=0.05, per_decade=10}",
        ),
    ),
    "five_kob_andersen": Run(
        "smoke/kob_andersen",
        full=_set(
            "dynamics.t_max=6",
            "record.waiting_times=[0.02, 0.2, 2]",
            "record.lags={start=0.001, per_decade=8}",
        ),
    ),
    "five_fully_connected": Run(
        "smoke/fully_connected",
        full=_set(
            "dynamics.t_max=1000",
            "dynamics.learning_rate=0.1",
            "dynamics.batch_size=20",
            "record.waiting_times=[3, 30, 300]",
            "record.lags={start=1, per_decade=8}",
        ),
    ),
    "five_resnet18": Run(
        "smoke/resnet18",
        full=_set(
            "dynamics.t_max=300",
            "dynamics.learning_rate=0.05",
            "record.waiting_times=[3, 10, 100]",
            "record.times={start=1, per_decade=6}",
            "record.lags={start=1, per_decade=8}",
        ),
    ),
    "fashion_sse": Run("fashion_sse"),
    "fashion_fge": Run("fashion_fge", needs=("fashion_ind",)),
    "ensembles": Run("ensemble", ("fashion_ind.nc", "fashion_sse.nc", "fashion_fge.nc")),
    "fashion_chain": Run("connect", ("fashion_ind.nc", "--curve", "chain")),
    "fashion_bezier": Run("connect", ("fashion_ind.nc", "--curve", "bezier")),
    "plane_optima": Run("plane", ("fashion_ind.nc", "--replicas", "0,1,2", "--grid", "21")),
    "plane_bezier": Run("plane", ("fashion_bezier.nc", "--grid", "21")),
    "fashion_3_hidden": Run("mnist_3_hidden", _set('data.name="fashion_mnist"')),
    "fashion_alpha": Run("mnist_alpha", _set('data.name="fashion_mnist"')),
}
_NEEDS = {"ensembles": ("fashion_ind", "fashion_sse", "fashion_fge"), "plane_bezier": ("fashion_bezier",)}
_NEEDS |= dict.fromkeys(("fashion_chain", "fashion_bezier", "plane_optima"), ("fashion_ind",))

#: Figure → recipe. Times are those of two processors.
RECIPES = {
    "pspin": Recipe(("pspin",), "4 minutes"),
    "aging": Recipe(("ck",), "a minute", ("plot", "--quantity", "aging")),
    "cugliandolo_kurchan": Recipe(("ck",), "a minute"),
    "ck_cycle": Recipe(("ck_cycle",), "2 minutes"),
    "memory_of_the_start": Recipe(("ck_memory_of_the_start",), "half an hour"),
    "memory_3_plus_12": Recipe(("ck_3_plus_12",), "6 minutes"),
    "quench_mixed": Recipe(("ck_quench_mixed",), "3 minutes"),
    "annealing": Recipe(("ck_annealing", "pspin_annealing"), "half an hour", ("compare",)),
    "protocols": Recipe(("protocols",), "seconds"),
    "hessian_pspin": Recipe(("pspin_spectrum",), "4 minutes", ("plot", "--quantity", "hessian")),
    "inherent_pspin": Recipe(("inherent_pspin",), "4 minutes", ("plot", "--quantity", "inherent_energy")),
    "inherent_kob_andersen": Recipe(
        ("inherent_kob_andersen",), "an hour", ("plot", "--quantity", "inherent_energy")
    ),
    "pspin_barriers": Recipe(("pspin_barriers",), "half an hour"),
    "speed_up_pspin": Recipe(("speed_up_pspin",), "10 minutes", ("plot", "--quantity", "contest")),
    "speed_up_network": Recipe(("speed_up_network",), "10 minutes", ("plot", "--quantity", "contest")),
    "speed_up_thermal": Recipe(("speed_up_thermal",), "10 minutes", ("plot", "--quantity", "contest")),
    "bad_minima": Recipe(("jamming_inherent",), "half an hour", ("plot", "--quantity", "bad_minima")),
    "alignment": Recipe(("alignment",), "half an hour", ("plot", "--quantity", "alignment")),
    "kob_andersen": Recipe(("kob_andersen",), "half an hour"),
    "kob_andersen_aging": Recipe(("kob_andersen",), "half an hour", ("plot", "--quantity", "aging")),
    "kob_andersen_cycle": Recipe(("kob_andersen_cycle",), "20 minutes"),
    "five_systems": Recipe(
        ("five_ck", "five_pspin", "five_kob_andersen", "five_fully_connected", "five_resnet18"),
        "4 minutes",
        ("compare",),
    ),
    "perceptron": Recipe(("perceptron",), "10 minutes"),
    "perceptron_convex": Recipe(("perceptron_convex",), "5 minutes"),
    "jamming": Recipe(("jamming_random_small",), "half an hour", ("plot", "--quantity", "jamming")),
    "jamming_data": Recipe(("jamming_data",), "half an hour", ("plot", "--quantity", "jamming")),
    "jamming_aging": Recipe(("jamming_aging",), "half an hour"),
    "data_structure": Recipe(("structure_of_data",), "an hour", ("plot", "--quantity", "training")),
    "fully_connected": Recipe(("fully_connected_fashion",), "half an hour"),
    "network_response": Recipe(
        ("fully_connected_response",), "a minute", ("plot", "--quantity", "effective_temperature")
    ),
    "layers": Recipe(("fully_connected_fashion",), "half an hour", ("plot", "--quantity", "layer_msd")),
    "ljat_3_hidden": Recipe(("ljat_3_hidden",), "2 minutes"),
    "subaging": Recipe(("ljat_3_hidden",), "2 minutes", ("plot", "--quantity", "aging")),
    "hessian_ljat": Recipe(("ljat_3_hidden",), "2 minutes", ("plot", "--quantity", "hessian")),
    "gradient_norm": Recipe(("ljat_3_hidden",), "2 minutes", ("plot", "--quantity", "gradient_norm")),
    "subaging_fashion": Recipe(("fashion_3_hidden",), "an hour", ("plot", "--quantity", "aging")),
    "subaging_alpha": Recipe(("fashion_alpha",), "half a day", ("plot", "--quantity", "aging")),
    "ensembles": Recipe(("ensembles",), "an hour"),
    "curve_networks": Recipe(("fashion_chain",), "an hour"),
    "plane_optima": Recipe(("plane_optima",), "an hour"),
    "plane_bezier": Recipe(("plane_bezier",), "an hour"),
}


def steps(name: str, quick: bool) -> list[list[str]]:
    """Return the commands of the program that make a result, those of what it needs first."""
    run = RUNS.get(name, Run(name))
    found = [step for other in (*run.needs, *_NEEDS.get(name, ())) for step in steps(other, quick)]
    if run.file in ("connect", "ensemble", "plane"):
        # Of a plane a few points show as much as many.
        arguments = ["7" if quick and before == "--grid" else part
                     for before, part in zip(("", *run.arguments), run.arguments, strict=False)]  # fmt: skip
        return [*found, [run.file, *arguments, "-o", f"{name}.nc"]]
    file = ROOT / "runs" / ("smoke" if quick else "") / f"{run.file.removeprefix('smoke/' * quick)}.toml"
    if name == _PAGE:
        file = _of_page()
    own = (*run.arguments, *(() if quick else run.full))
    return [
        *found,
        ["run", str(file), "--resume", *own, *_set(f'output.path="{name}.nc"', "output.figure=false")],
    ]


#: A run file that stands on the page of its name.
_PAGE = "protocols"


def _of_page() -> Path:
    """Write the run file of a page beside the results, and return it."""
    text = (ROOT / "docs" / f"{_PAGE}.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(title = .*?)```", text, re.DOTALL)
    if block is None:
        raise RuntimeError(f"docs/{_PAGE}.md: no run file with a title")
    file = Path(f"{_PAGE}.toml").resolve()
    file.write_text(block[1], encoding="utf-8")
    return file


def make(name: str, results: Path, figures: Path, quick: bool) -> Path:
    """Make a figure: run what is not there yet, and draw.

    Returns
    -------
    Path
        The figure.

    Raises
    ------
    RuntimeError
        If one of the commands fails.
    """
    recipe = RECIPES[name]
    figure = figures.resolve() / f"{name}.png"
    results.mkdir(parents=True, exist_ok=True)
    figure.parent.mkdir(parents=True, exist_ok=True)
    with _inside(results):
        for result in recipe.results:
            for step in steps(result, quick):
                if not Path(_written(step)).exists():
                    _call(step)
        command, *options = recipe.draw
        _call(
            [command, *(f"{result}.nc" for result in recipe.results), *options, "-o", str(figure), "--force"]
        )
    return figure


def _written(step: Sequence[str]) -> str:
    """Return the result that a command writes."""
    if step[0] != "run":
        return step[-1]
    return next(part for part in step if part.startswith("output.path=")).split("=")[1].strip('"')


@contextmanager
def _inside(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def _call(arguments: Sequence[str]) -> None:
    from click.testing import CliRunner

    from langevin.commands.cli import main as program

    done = CliRunner().invoke(program, list(arguments))
    if done.exit_code:
        raise RuntimeError(f"langevin {' '.join(arguments)}\n{done.output}") from done.exception


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the figures that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", help="figures, without .png (default: all)")
    parser.add_argument("--quick", action="store_true", help="small runs, of runs/smoke; needs --figures")
    parser.add_argument("--results", type=Path, default=Path("results"), help="folder of results")
    parser.add_argument("--figures", type=Path, help="folder of figures (default: docs/figures)")
    parser.add_argument("--list", action="store_true", help="say what figures are made of")
    asked = parser.parse_args(arguments)
    unknown = [name for name in asked.names if name not in RECIPES]
    if unknown:
        parser.error(f"no such figure: {', '.join(unknown)}; allowed: {', '.join(RECIPES)}")
    if asked.quick and (asked.figures is None or asked.figures.resolve() == FIGURES):
        parser.error("--quick: give --figures, another folder than docs/figures")
    names = asked.names or list(RECIPES)
    if asked.list:
        for name in names:
            print(f"{name:24}{RECIPES[name].takes:16}{', '.join(RECIPES[name].results)}")
        return 0
    results = asked.results / "quick" if asked.quick else asked.results
    for name in names:
        begun = time.monotonic()
        make(name, results, asked.figures or FIGURES, asked.quick)
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
