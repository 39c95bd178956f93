"""Templates are run files to begin with, as `langevin init` prints them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from langevin.core.capabilities import Deterministic, LearnsFromData

from . import registry, validate
from .keys import describe, example_of, is_yours, toml
from .schema import FILE


def template(name: str) -> str:
    """Return a commented run file for a system; it validates once files that it says to name are there."""
    lines, yours = [f"title = {toml(name)}"], []
    system_class = registry.load(name, Path.cwd())
    learns = issubclass(system_class, LearnsFromData)
    names = {"system": name, "data": system_class.data if learns else ""}
    for table, kind in validate.tables(system_class, Path.cwd()):
        if table == "start":
            # A run file that stands alone has none.
            continue
        lines += ["", f"[{table}]"]
        if table in names:
            lines.append(f"name = {toml(names[table])}")
        for field, info in kind.model_fields.items():
            lines += [f"# {describe(info)}", f"{field} = {toml(_example(name, system_class, field, info))}"]
            yours += [f"{table}.{field}"] * is_yours(info)
    if yours:
        lines.insert(
            0, f"# To fill in before it is valid: {', '.join(yours)}, and what has to agree with it."
        )
    # Editors that know TOML read it; the file is what `langevin schema` prints.
    return "\n".join([f"#:schema ./{FILE}", *lines]) + "\n"


def _example(name: str, system_class: type[Any], field: str, info: FieldInfo) -> Any:
    if field == "path":
        return f"{name.rpartition(':')[2]}.nc"
    # All of an archive is one quenched sample.
    single = field == "samples" and issubclass(system_class, LearnsFromData)
    single = single or (field in ("replicas", "samples") and issubclass(system_class, Deterministic))
    return 1 if single else example_of(info)
