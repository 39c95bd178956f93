"""A notebook calls these functions: one for every command that makes a result, with the same arguments.

They return what the command writes, and write it only if they are told where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langevin.code.trust import trusting
from langevin.results.kinds import require_result
from langevin.results.members import members, select
from langevin.results.open import open_result as open
from langevin.sweep.simulation import resume, run

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure

    from langevin.analysis.compare import Compared
    from langevin.results.shown import Summary

__all__ = [
    "compare",
    "connect",
    "ensemble",
    "members",
    "open",
    "plane",
    "plot",
    "resume",
    "run",
    "scaled",
    "summary",
]


def connect(
    start: str | Path,
    end: str | Path | None = None,
    *,
    curve: Literal["bezier", "chain", "band"] = "bezier",
    bends: int = 1,
    loss: Literal["uniform_t", "uniform_length"] = "uniform_t",
    time: float | None = None,
    align: bool = False,
    output: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    force: bool = False,
    threads: int | None = None,
    progress: bool = False,
    trust: bool = False,
) -> xr.Dataset:
    """Join stored configurations of two finished runs by curves along which the energy is low.

    Parameters
    ----------
    start, end : path
        Results of one system. Replica k of one is joined with replica k of the other; without `end` replicas
        of each sample in `start` are joined in pairs.
    curve : {"bezier", "chain", "band"}
        Bezier curve, polygonal chain, or nudged elastic band.
    bends : int
        Points between the ends.
    loss : {"uniform_t", "uniform_length"}
        What the mean loss of the curve is uniform in.
    time : float, optional
        Stored time of the ends, in the unit of the runs (default: the last).
    align : bool
        Of networks: permute the units of each last end, its function the same, to fit those of the first.
    output : path, optional
        Result file. Without it no file is left behind.
    overrides : mapping, optional
        "section.key" → value, of the run file of the curves (`--set`).
    force : bool
        Overwrite an existing result, discard an unfinished run.
    threads, progress, trust
        As for `run`.

    Returns
    -------
    Dataset
        As of any run; `barrier(replica)` and what else belongs to curves is in docs/curves.md.

    Raises
    ------
    UserError, ConfigError
        If the files hold no such ends, or a key is not valid.
    """
    from langevin.analysis import connect as connecting

    keys: dict[str, Any] = {"curve": curve, "bends": bends, "loss": loss, "time": time, "align": align}
    with trusting(trust):
        given = connecting.run_file(
            Path(start), _path(end), overrides=overrides, output=_path(output), **keys
        )
    return run(given, overrides, force=force, threads=threads, progress=progress, trust=trust)


def plane(
    *files: str | Path,
    principal: str | Path | None = None,
    random: bool = False,
    normalise: Literal["filter", "layer", "none"] = "filter",
    seed: int = 0,
    extent: float = 1.0,
    replica: int = 0,
    replicas: str | Sequence[int] | None = None,
    time: float | None = None,
    trajectory: str | Path | Sequence[str | Path] = (),
    curve: str | Path | Sequence[str | Path] = (),
    grid: int = 21,
    margin: float = 0.2,
    cover: bool = False,
    output: str | Path | None = None,
    force: bool = False,
    threads: int | None = None,
    progress: bool = False,
    trust: bool = False,
) -> xr.Dataset:
    """Evaluate the landscape on a plane through stored configurations.

    Parameters
    ----------
    *files : path
        Three results; one with three replicas or more; a curve of one bend; with `random`, one result.
    principal : path, optional
        In place of files: the plane of the first principal components of this trajectory.
    random : bool
        Two random directions from one configuration.
    normalise : {"filter", "layer", "none"}
        Of random directions: what is as long as in the configuration itself.
    seed : int
        Of random directions.
    extent : float
        Half the side of the grid along random directions, in lengths of the configuration.
    replica : int
        Label of the replica, of every file.
    replicas : str or sequence of int, optional
        Labels of the replicas of the three points: "0,1,2" or (0, 1, 2) (default: those of `replica`; of one
        file, its first three).
    time : float, optional
        Time of the configurations, in the unit of the run (default: the last stored).
    trajectory, curve : path or sequence of path
        Runs, and curves, that are projected onto the plane.
    grid : int
        Points along each axis.
    margin : float
        Of the grid around the points, as a part of their extent.
    cover : bool
        Let the grid hold curves and trajectories, too.
    output : path, optional
        Result file (.nc); the figure is drawn beside it. Without it nothing is written.
    force : bool
        Overwrite both.
    threads : int, optional
        Processors to use (default: all that this process may). The result does not depend on it.
    progress : bool
        Show a progress bar.
    trust : bool
        As for `run`.

    Returns
    -------
    Dataset
        Energies, of networks losses and errors, on the grid (y, x), and at the points; docs/planes.md.

    Raises
    ------
    UserError
        If the files do not hold such configurations, or these are not of one landscape.
    Interrupted
        By Ctrl-C or another signal; nothing is then written.
    """
    from langevin.analysis import shell
    from langevin.analysis.plane import command
    from langevin.analysis.plane.request import PlaneRequest

    request = PlaneRequest(
        files=tuple(map(Path, files)),
        principal=_path(principal),
        random=random,
        normalise=normalise,
        seed=seed,
        extent=extent,
        replica=replica,
        replicas=replicas if replicas is None or isinstance(replicas, str) else ",".join(map(str, replicas)),
        time=time,
        trajectory=_paths(trajectory),
        curve=_paths(curve),
        grid=grid,
        margin=margin,
        cover=cover,
        threads=threads,
        progress=progress,
    )
    outputs = command.outputs(_path(output))
    with trusting(trust):
        return shell.carry_out(partial(command.evaluate, request), outputs, request.sources, force)


def ensemble(
    *files: str | Path,
    size: int | None = None,
    budget: float | None = None,
    output: str | Path | None = None,
    csv: str | Path | None = None,
    force: bool = False,
    threads: int | None = None,
    progress: bool = False,
    trust: bool = False,
) -> xr.Dataset:
    """Average the predictions of stored networks; each file is a method.

    Parameters
    ----------
    *files : path
        Results of networks, of one system and one data set.
    size : int, optional
        Replicas of a repetition, which spend a budget each (default: 3, or as many as there are).
    budget : float, optional
        Steps of one budget (default: those of a run that gives a single member, else of the longest).
    output : path, optional
        Result file (.nc); the figure is drawn beside it. Without it neither is written.
    csv : path, optional
        File of the table of errors.
    force : bool
        Overwrite existing files.
    threads, progress, trust
        As for `plane`.

    Returns
    -------
    Dataset
        Dimensions method, repetition, member, budget, group, rate_point; docs/ensembles.md.

    Raises
    ------
    UserError
        If a file holds no classifiers, or they cannot stand in one table.
    """
    from langevin.analysis import shell
    from langevin.analysis.ensemble import command

    paths = [Path(file) for file in files]
    evaluate = partial(command.ensembles, paths, size=size, budget=budget, threads=threads, progress=progress)
    with trusting(trust):
        return shell.carry_out(evaluate, command.outputs(_path(output), _path(csv)), paths, force)


def compare(
    *files: str | Path | xr.Dataset,
    quantity: str | None = None,
    match: float = 1.1,
    extrapolate: bool = False,
    order: int | None = None,
    overlay: bool = False,
    scale: Mapping[str, str] | Sequence[str] = (),
    at: Sequence[str] = (),
    label: Sequence[str] = (),
    width: str = "column",
    output: str | Path | None = None,
    csv: str | Path | None = None,
    force: bool = False,
) -> Compared:
    """Compare results: of the same quantities, by their differences; of any others, laid over each other.

    In differences the first is the reference A, each other one a B.

    Parameters
    ----------
    *files : path or Dataset
        Two results or more of single runs, whatever system wrote them; or two sweeps or more over the same
        number, which are compared by their final energies.
    quantity : str, optional
        Two-time observable to compare, besides energies (default: msd). Of an overlay what to show, with
        commas between (default: energy,msd,correlation).
    match : float
        Pair waiting times that differ by no more than this factor, ≥ 1.
    extrapolate : bool
        Extrapolate files that differ in system.n, or in dynamics.dt, too, to N → ∞ (and dt → 0); the one
        without system.n is the reference.
    order : int, optional
        Order of the extrapolation in 1/N (default: 2 from four sizes on, else 1).
    overlay : bool
        Lay all results over each other, also where they are of the same quantities; of a sweep all members.
    scale : mapping, or sequence of "key=value"
        By what the axes of an overlay are divided: time, lag, energy, msd, correlation (docs/compare.md).
    at : sequence of str
        Members of sweeps: "name=value", or "FILE:name=value"; several values of one name are several members.
    label : sequence of str
        Names of the results, in their order (default: system, data, and what tells them apart).
    width : {"column", "page", "slide"}
        Of the figure of an overlay: 3.4 or 7 inches.
    output : path, optional
        Figure file (.png, .pdf, .svg).
    csv : path, optional
        File of every compared point.
    force : bool
        Overwrite existing files.

    Returns
    -------
    Compared
        A list of comparisons, one for each file after the first; with `extrapolate` the one with the limit.
        `summary(quantity)` and `table()` of each say what came out (docs/compare.md). Where results are not
        all of the same quantities, its `overlay` holds their curves, and the list those comparisons that can
        be made with the first. `figure()` draws it.

    Raises
    ------
    UserError
        If there is nothing to compare.
    """
    from langevin.analysis import shell
    from langevin.analysis.compare import command

    keys: dict[str, Any] = {"quantity": quantity, "match": match, "limit": extrapolate, "order": order}
    keys |= {"overlaid": overlay, "scale": scale, "at": at, "labels": label, "width": width}
    outputs = command.outputs(_path(output), _path(csv))
    return shell.carry_out(partial(command.compared, files, **keys), outputs, files, force)


def scaled(
    *files: str | Path | xr.Dataset,
    scale: Mapping[str, str] | Sequence[str] = (),
    quantity: str | None = None,
    at: Sequence[str] = (),
    label: Sequence[str] = (),
    per_decade: int = 10,
) -> list[xr.Dataset]:
    """Return results of any systems at common times, each axis by its scale, for `xarray.concat`.

    Parameters
    ----------
    *files : path or Dataset
        Results of single runs, or sweeps, whose members are taken.
    quantity, scale, at, label, per_decade
        As for an overlay of `compare`; common times and lags in a decade.

    Returns
    -------
    list of Dataset
        Averages over replicas, and their errors, with the same coordinates time, waiting_time and lag; NaN
        where a result has none. The scalar coordinate `system` is its name (docs/compare.md).

    Raises
    ------
    UserError
        If there is nothing of that name, or a scale is not known.
    """
    from langevin.analysis import shell
    from langevin.analysis.compare import command

    with shell.reading(files) as datasets:
        found = command.laid_over(datasets, quantity, scale, at, label)
        return command.on_common_times(found, per_decade)


def plot(
    file: str | Path | xr.Dataset,
    *,
    quantity: str | None = None,
    threshold: float | None = None,
    at: Sequence[str] = (),
    width: Literal["column", "page", "slide"] | None = None,
    style: str | Path | None = None,
    title: str | None = None,
    waiting_times: Sequence[float] | None = None,
    axes: Mapping[str, Any] | None = None,
    output: str | Path | None = None,
    force: bool = False,
) -> Figure:
    """Draw a result.

    Parameters
    ----------
    file : path or Dataset
        A result, or the checkpoint of a run that goes on.
    quantity : str, optional
        One of `langevin.plotting.quantities(dataset)` (default: what shows most).
    threshold : float, optional
        Of msd, for quantity "aging" (default: found in the file).
    at : sequence of str
        Of a sweep, only members with these values, for instance ["temperature=0.5"].
    width : {"column", "page", "slide"}, optional
        What it is printed on: 3.4, 7 or 10 inches; text has 7 to 9 points on the first two. By default a
        page, of a single panel a column.
    style : str or path, optional
        A file of matplotlib's settings, or the name of a style that matplotlib knows.
    title : str, optional
        In place of that of the file; "": none.
    waiting_times : sequence of float, optional
        Those to draw, in the unit of the file, to three digits. Fits are of all, as ever.
    axes : mapping, optional
        "x" or "y" of all panels, "b.y" of panel (b) → "log", "linear", or limits (low, high), of which one
        may be None.
    output : path, optional
        Figure file (.png, .pdf, .svg). Without it nothing is written.
    force : bool
        Overwrite an existing figure.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    UserError
        If there is nothing of that name to draw, or no such width, style, waiting time or axis.
    """
    from langevin import plotting
    from langevin.analysis import shell

    path = _path(output)
    outputs = [] if path is None else [shell.figure(path, lambda drawn: drawn)]
    with shell.reading([file]) as (dataset,):
        look: dict[str, Any] = {"width": width, "style": style, "title": title, "axes": axes}
        own = select(dataset, at)
        draw = partial(plotting.figure, own, quantity, threshold, waiting_times=waiting_times, **look)
        return shell.carry_out(draw, outputs, [file], force)


def summary(file: str | Path | xr.Dataset, *, at: Sequence[str] = ()) -> Summary:
    """Say what is in a result, and where it comes from, as `langevin info` does.

    Parameters
    ----------
    file : path or Dataset
        A result, or the checkpoint of a run that goes on.
    at : sequence of str
        Of a sweep, only members with these values, for instance ["temperature=0.5"].

    Returns
    -------
    Summary
        Printed it has the lines of `langevin info`; a notebook shows it as a table.

    Raises
    ------
    UserError
        If there is no such member, or the file is no result.
    """
    from langevin.analysis import shell
    from langevin.results.shown import Summary

    with shell.reading([file]) as (dataset,):
        require_result(dataset)
        return Summary.of(select(dataset, at))


def _path(given: str | Path | None) -> Path | None:
    return None if given is None else Path(given)


def _paths(given: str | Path | Sequence[str | Path]) -> tuple[Path, ...]:
    return (Path(given),) if isinstance(given, str | Path) else tuple(map(Path, given))
