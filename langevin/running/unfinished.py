"""With `--resume` a run asks what stands at the place of its result, and whether it is of the same run."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias

from langevin.code.user_code import Origin
from langevin.config import run_files
from langevin.config.keys import toml
from langevin.config.settings import Settings
from langevin.core.schedule import Grid
from langevin.errors import Diverged, StorageError, UserError, shortened
from langevin.files import manifest, netcdf
from langevin.files.paths import Paths
from langevin.speech import option

Standing: TypeAlias = Literal["nothing", "unfinished", "complete"]

#: What must be the same: all but the title and [output].
_SECTIONS = ("system", "data", "start", "dynamics", "ensemble", "record")


def standing(settings: Settings, paths: Paths) -> Standing:
    """Return what stands where a run is to write.

    Raises
    ------
    UserError
        If it is of other settings: the first key that differs is named.
    Diverged
        If it has ended, and not well.
    StorageError
        If it cannot be read.
    """
    if paths.sweeping:
        notes = manifest.read(paths.manifest)
        _require_same(settings, notes.get("settings"), notes.get("code"), paths.manifest)
        return "unfinished"
    if paths.checkpoint.exists():
        said = attributes(paths.checkpoint)
        _require_same(settings, _settings(said), said.get("code"), paths.checkpoint)
        return "unfinished"
    if not paths.result.exists():
        return "nothing"
    said = attributes(paths.result)
    # Of a result it does not show in how many shards it was computed.
    _require_same(settings, _settings(said), said.get("code"), paths.result, but=("ensemble.shards",))
    status = str(said.get("status", ""))
    if status != "complete":
        raise Diverged(f"{paths.result} has ended ({status}), and would again; {option('force')} begins anew")
    return "complete"


def attributes(path: Path) -> dict[str, Any]:
    """Return the global attributes of a result or a checkpoint."""
    try:
        with netcdf.open_dataset(path) as dataset:
            return dict(dataset.attrs)
    except (OSError, RuntimeError, ValueError) as error:
        raise StorageError(f"{path}: not a netCDF file that can be read: {error}") from None


def _settings(said: Mapping[str, Any]) -> Any:
    try:
        return json.loads(said["settings"])
    except (KeyError, TypeError, ValueError):
        return None


def _require_same(settings: Settings, given: Any, code: Any, file: Path, but: Collection[str] = ()) -> None:
    if not isinstance(given, dict):
        raise UserError(f"{file} is no run's: it does not say from which settings it was made")
    # The file may be somebody else's, and so may the code that it names.
    there = run_files.load(given, folder=settings.folder, origin=Origin.of(file, code))
    differing = next((d for d in _differences(there, settings) if d[0] not in but), None)
    if differing is not None:
        key, (its, here) = differing[0], map(shortened, differing[1:])
        raise UserError(
            f"{file}: its {key} is {its}, here {here}: must be the same to go on with "
            f"{option('resume')}; {option('force')} begins anew"
        )


def _differences(there: Settings, here: Settings) -> Iterator[tuple[str, str, str]]:
    """Yield the keys in which settings differ, and what they are, as a run file would say it."""
    swept = [dict(_swept(settings)) for settings in (there, here)]
    for key in dict.fromkeys((*swept[0], *swept[1])):
        if swept[0].get(key) != swept[1].get(key):
            its, ours = (toml(table[key]) if key in table else "not swept" for table in swept)
            yield f"sweep.{key}", its, ours
    shapes = [settings.sweep.shape if settings.sweep else () for settings in (there, here)]
    if shapes[0] != shapes[1]:
        # The same keys, together in one and each by itself in the other.
        sizes = [f"of {' × '.join(map(str, shape))} members" for shape in shapes]
        yield "sweep", sizes[0], sizes[1]
    for key in ("system_name", "data_name"):
        its, ours = getattr(there, key), getattr(here, key)
        if its != ours:
            yield key.replace("_", "."), toml(its), toml(ours)
    for section in _SECTIONS:
        old, new = _table(there, section), _table(here, section)
        for key in dict.fromkeys((*old, *new)):
            if old.get(key) != new.get(key):
                yield f"{section}.{key}", old.get(key, "not given"), new.get(key, "not given")


def _swept(settings: Settings) -> Iterator[tuple[str, list[Any]]]:
    for axis in settings.sweep.axes if settings.sweep else ():
        yield from ((key, axis.values(key)) for key in axis.keys)


def _table(settings: Settings, section: str) -> dict[str, str]:
    """Return the keys of a section with their values, defaults included, as a run file would have them."""
    keys = getattr(settings, section)
    if keys is None:
        return {}
    values = {name: getattr(keys, name) for name in type(keys).model_fields}
    if section == "record":
        probes = {f"probes.{probe.name}": probe.table for probe in settings.probes}
        values |= {f"{name}.{key}": value for name, table in probes.items() for key, value in table.items()}
    return {name: toml(v.as_given() if isinstance(v, Grid) else v) for name, v in values.items()}
