"""`ds.langevin` does with a data set what commands and observables do with a file, by the same functions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from langevin import api
from langevin.errors import UserError
from langevin.results import exponent_words
from langevin.results.kinds import TWO_TIME, has, is_result, kind_of, require_result, two_time_names
from langevin.results.members import members, sweep_dims
from langevin.results.shown import Summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Window in C of the slopes of χ against C, of replicas; a solution has no noise, and needs none.
WINDOW = 0.15


class Accessor:
    """What can be asked of a result, as methods of the data set.

    >>> import langevin
    >>> ds = langevin.open("pspin.nc")  # doctest: +SKIP
    >>> ds.langevin  # doctest: +SKIP
    >>> ds.langevin.plot("correlation")  # doctest: +SKIP

    Parameters
    ----------
    dataset : Dataset
        A result, or what was taken out of one: of `langevin.open`, `langevin.run`, or `xarray.open_dataset`.
        Nothing is read before it is asked for, and arrays of Dask stay so.
    """

    def __init__(self, dataset: xr.Dataset) -> None:
        self._dataset = dataset

    def summary(self, at: Sequence[str] = ()) -> Summary:
        """Return what `langevin.summary` says: where the result comes from, what is in it, what came out.

        Parameters
        ----------
        at : sequence of str
            Of a sweep, only members with these values, for instance ["temperature=0.5"].
        """
        return api.summary(self._result(), at=at)

    def plot(
        self,
        quantity: str | None = None,
        *,
        threshold: float | None = None,
        at: Sequence[str] = (),
        output: str | Path | None = None,
        force: bool = False,
        **look: Any,
    ) -> Figure:
        """Draw the result; arguments, figure and errors are those of `langevin.plot`."""
        return api.plot(
            self._result(), quantity=quantity, threshold=threshold, at=at, output=output, force=force, **look
        )

    def quantities(self) -> list[str]:
        """Return what `plot` may be asked for."""
        from langevin import plotting

        return plotting.quantities(self._result())

    def members(self) -> Iterator[tuple[dict[str, Any], xr.Dataset]]:
        """Iterate over the members of a sweep, as `langevin.members` does; a run is its own only one."""
        return members(self._result())

    def average(self, *names: str) -> xr.Dataset:
        """Average over replicas (`langevin.observables.statistics.average`).

        Parameters
        ----------
        *names : str
            Variables (default: all numbers that replicas have, but configurations).

        Returns
        -------
        Dataset
            Each variable without its dimension replica, and its standard error over samples as
            ``<name>_error``. Of a sweep, the averages of each member.

        Raises
        ------
        UserError
            If there is no such variable, or it has no replicas.
        """
        for name in names:
            if name not in self._dataset.data_vars or "replica" not in self._dataset[name].dims:
                known = ", ".join(_of_replicas(self._dataset)) or "none"
                there = "has no replicas" if name in self._dataset else "not in the data set"
                raise UserError(f"average: {name!r} {there}; allowed: {known}")
        return self._each_member(lambda one: _averages(one, names))

    def aging(self, quantity: str = "msd", **keywords: Any) -> xr.Dataset:
        """Return the exponent of aging (`langevin.observables.aging.aging_exponent`).

        Parameters
        ----------
        quantity : str
            A two-time observable.
        **keywords
            Of that function, such as ``threshold``; a correlation is taken to fall (``falling=True``).

        Returns
        -------
        Dataset
            As of that function; of a sweep, that of each member.

        Raises
        ------
        UserError
            If the result has no such observable.
        """
        from langevin.observables.aging import aging_exponent

        self._require(quantity)
        given: dict[str, Any] = {"falling": quantity == "correlation", **keywords}

        def exponent(one: xr.Dataset) -> xr.Dataset:
            accuracy = exponent_words.accuracy(one) if quantity == "msd" else None
            return aging_exponent(one[quantity], **{"accuracy": accuracy, **given})

        return self._each_member(exponent)

    def fdt(self, **keywords: Any) -> xr.Dataset:
        """Return how far the result is from the fluctuation-dissipation theorem.

        Of a response that is conjugate to the correlation, X and T_eff along the lag
        (`langevin.observables.response.fdt_ratio`), with the temperature of the file, C(t, t) where it is
        not 1, and of several replicas slopes in windows of C. If it is conjugate to displacements, T_eff
        (`langevin.observables.displacement_response.effective_temperature`).

        Parameters
        ----------
        **keywords
            Of these functions, in place of what is chosen, such as ``width``.

        Returns
        -------
        Dataset
            As of that function; of a sweep, that of each member.

        Raises
        ------
        UserError
            If the result has no response.
        """
        self._require("integrated_response", "; record.response = true measures it")
        return self._each_member(lambda one: _fdt(one, keywords))

    def _each_member(self, function: Callable[[xr.Dataset], xr.Dataset]) -> xr.Dataset:
        """Return what a function makes of a single run; of a sweep, of each member, along what is swept."""
        dims = sweep_dims(self._dataset)
        found = [function(member) for _, member in members(self._dataset)]
        for dim in reversed(dims):
            size, along = self._dataset.sizes[dim], self._dataset[dim]
            groups = [found[k : k + size] for k in range(0, len(found), size)]
            found = [
                xr.concat(
                    [one.drop_vars(dim, errors="ignore") for one in group],
                    along.drop_vars([n for n in along.coords if n != dim]),
                    data_vars="all",
                    coords="different",
                    compat="equals",
                    join="outer",
                    combine_attrs="drop_conflicts",
                )
                for group in groups
            ]
        return found[0]

    def _require(self, quantity: str, remark: str = "") -> None:
        known = two_time_names(self._result())
        if quantity not in known:
            there = f"two-time observables: {', '.join(known) or 'none'}"
            raise UserError(f"no {quantity} in the result ({there}){remark}")

    def _result(self) -> xr.Dataset:
        """Return the data set; `UserError` if it is no result."""
        require_result(self._dataset)
        return self._dataset

    def __repr__(self) -> str:
        """Say what it is, and what it offers."""
        if not is_result(self._dataset):
            return "<langevin: the data set is no result>"
        offered = ", ".join(name for name in dir(type(self)) if not name.startswith("_"))
        return f"<langevin: {kind_of(self._dataset).called(self._dataset)}; {offered}>"


def _of_replicas(dataset: xr.Dataset) -> list[str]:
    """Return the variables that are averaged where none is named: numbers, and no configurations."""
    return [
        str(name)
        for name, variable in dataset.data_vars.items()
        if "replica" in variable.dims
        and variable.dtype.kind in "fiu"
        and not {"dof", "component", "sketch_component", "constant"} & set(variable.dims)
    ]


def _averages(dataset: xr.Dataset, names: Sequence[str]) -> xr.Dataset:
    from langevin.observables.statistics import average

    found = {}
    for name in names or _of_replicas(dataset):
        if name in dataset:
            estimate = average(dataset[name])
            about = {"long_name": f"standard error of {dataset[name].attrs.get('long_name', name)}"}
            found[name] = estimate.mean
            found[f"{name}_error"] = estimate.error.assign_attrs(about)
    return xr.Dataset(found, attrs=dataset.attrs)


def _fdt(dataset: xr.Dataset, given: dict[str, Any]) -> xr.Dataset:
    from langevin.observables.displacement_response import effective_temperature
    from langevin.observables.response import fdt_ratio
    from langevin.plotting.response import is_conjugate, units

    response = dataset["integrated_response"]
    if not is_conjugate(dataset):
        if not has(dataset, "msd", *TWO_TIME):
            raise UserError("no msd in the result, to which its response is conjugate")
        return effective_temperature(dataset["msd"], response, **given)
    unit = units(dataset)
    chosen = {
        "temperature": float(response.attrs.get("temperature", 0.0)),
        "width": WINDOW if dataset.sizes["replica"] > 1 else None,
        "equal_time": 1.0 if unit is None else unit["at_end"],
    }
    return fdt_ratio(dataset["correlation"], response, **{**chosen, **given})
