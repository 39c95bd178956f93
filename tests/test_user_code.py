"""Code that run files name is that of its folder, as it is now, and as results have recorded it."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import os
import pickle
import subprocess
import sys
import textwrap
import threading
import typing
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
import strangers
from click.testing import CliRunner, Result

import langevin
from langevin.code import known, loading, syntax, trust
from langevin.code.user_code import Origin
from langevin.commands.cli import main
from langevin.config import run_files
from langevin.errors import ConfigError, UnknownCode, UserError
from langevin.results import configurations

#: A system whose energy is a number, so that a result says which code it is of.
SYSTEM = """
import numpy as np
from langevin.systems.harmonic import Harmonic


class System(Harmonic):
    def energy(self, x):
        return np.full(len(x), float(NUMBER))
"""

#: A network of which NUMBER units are hidden.
NET = """
import math
from torch import nn


def net(shape, classes):
    size = math.prod(shape)
    return nn.Sequential(nn.Flatten(), nn.Linear(size, NUMBER), nn.Tanh(), nn.Linear(NUMBER, classes))
"""


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Know nothing of what other tests have run, and leave nothing of what this one imports."""
    monkeypatch.setenv(known.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(trust, "_said", set())
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    yield
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def langevin_(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def folder(path: Path, **files: str) -> Path:
    """Make a folder with modules; "a.b" is one of the package a."""
    for name, text in files.items():
        file = path / f"{name.replace('.', '/')}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(text))
    return path


def toml(path: Path, given: dict[str, Any]) -> Path:
    lines = []
    for section, table in given.items():
        lines += [f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    path.write_text("\n".join(lines) + "\n")
    return path


def run(where: Path, target: str = "net:System", **keys: Any) -> float:
    """Return the energy of a run whose run file stands in a folder; leave no file."""
    given = strangers.settings({"system.name": target})
    given["system"]["n"] = 1
    file = toml(where / "run.toml", given)
    with langevin.run(file, {"output.path": str(where / "out.nc")}, force=True, **keys) as found:
        (energy,) = np.unique(found["energy"])
    return float(energy)


def again(where: Path) -> float:
    """Return the energy of the system that a later process makes of the result that `run` left."""
    loading._spaces.clear()
    with langevin.open(where / "out.nc") as found:
        made = configurations.settings(found, where / "out.nc")
    return float(made.system_class.energy(None, np.zeros((1, 1)))[0])


def network(where: Path, target: str = "net:net", **further: Any) -> Path:
    """Leave the result of a network whose module a folder holds."""
    given = strangers.settings({"system.module": target, **further})
    file = toml(where / "run.toml", given)
    langevin.run(file, {"output.path": str(where / "out.nc")}, force=True).close()
    return where / "out.nc"


def number(value: int) -> str:
    return f"NUMBER = {value}\n"


# Two folders.


def test_each_folder_has_its_own_modules(tmp_path: Path) -> None:
    for name, value in (("A", 1), ("B", 2)):
        folder(tmp_path / name, net=number(value) + SYSTEM)
    assert [run(tmp_path / name) for name in "ABA"] == [1, 2, 1]
    # Nobody else sees them.
    assert "net" not in sys.modules
    assert not {str(tmp_path / name) for name in "AB"} & set(sys.path)


@pytest.mark.parametrize("how", ["import helper as h", "from helper import NUMBER", "from helper import *"])
def test_a_module_has_the_neighbours_of_its_folder(tmp_path: Path, how: str) -> None:
    there = "\nNUMBER = h.NUMBER" if "as h" in how else ""
    for name, value in (("A", 1), ("B", 2)):
        folder(tmp_path / name, net=f"{how}{there}\n{SYSTEM}", helper=number(value))
    assert [run(tmp_path / name) for name in "ABA"] == [1, 2, 1]
    assert [again(tmp_path / name) for name in "AB"] == [1, 2]


def test_what_is_imported_late_is_of_the_folder_too(tmp_path: Path) -> None:
    late = SYSTEM.replace("return np", "from helper import NUMBER; return np")
    for name, value in (("A", 1), ("B", 2)):
        folder(tmp_path / name, net=late, helper=number(value))
    assert [run(tmp_path / name) for name in "AB"] == [1, 2]


def test_packages_with_relative_imports(tmp_path: Path) -> None:
    files = {
        "pkg.__init__": "from . import numbers\nfrom .deep import more\n",
        "pkg.net": "from .numbers import NUMBER\nimport pkg.deep.more\nimport pkg.numbers as n\n"
        "from pkg import deep\nfrom .deep.more import TEN\nassert pkg.deep.more.TEN == deep.more.TEN == TEN\n"
        "assert n.NUMBER == NUMBER\nNUMBER += TEN\n" + SYSTEM,
        "pkg.deep.__init__": "",
        "pkg.deep.more": "from ..numbers import NUMBER\nfrom .. import numbers\nTEN = 10 * numbers.NUMBER\n",
    }
    for name, value in (("A", 1), ("B", 2)):
        folder(tmp_path / name, **files, **{"pkg.numbers": number(value)})
    assert [run(tmp_path / name, "pkg.net:System") for name in "AB"] == [11, 22]
    assert [again(tmp_path / name) for name in "AB"] == [11, 22]
    recorded = json.loads(_attributes(tmp_path / "B" / "out.nc")["code"])["pkg.net:System"]
    assert set(recorded) == {"pkg", "pkg.net", "pkg.numbers", "pkg.deep", "pkg.deep.more"}


def _attributes(path: Path) -> dict[str, Any]:
    with langevin.open(path) as found:
        return dict(found.attrs)


def test_folders_that_are_no_packages(tmp_path: Path) -> None:
    for name, value in (("A", 1), ("B", 2)):
        source = f"from nets.deep.numbers import NUMBER\nfrom .deep import numbers\n{SYSTEM}"
        folder(tmp_path / name, **{"nets.net": source, "nets.deep.numbers": number(value)})
    assert [run(tmp_path / name, "nets.net:System") for name in "AB"] == [1, 2]
    assert [again(tmp_path / name) for name in "AB"] == [1, 2]


def test_modules_and_losses_of_networks(tmp_path: Path) -> None:
    loss = """
        from torch.nn.functional import cross_entropy
        def loss(outputs, labels, reduction):
            return NUMBER * cross_entropy(outputs, labels, reduction=reduction)
    """
    loss = textwrap.dedent(loss)
    data = "from langevin.systems.networks.data.synthetic import Synthetic\nclass Data(Synthetic): pass\n"
    sizes, energies = [], []
    for name, value in (("A", 1), ("B", 2)):
        where = folder(tmp_path / name, net=number(3 * value) + NET + data, losses=number(value) + loss)
        path = network(where, **{"system.loss": "losses:loss", "data.name": "net:Data"})
        with langevin.open(path) as found:
            sizes.append(found.sizes["dof"])
            energies.append(float(found["energy"][0, 0]))
    assert sizes == [3 * (784 + 1) + 10 * (3 + 1), 6 * (784 + 1) + 10 * (6 + 1)]
    # ln 10 for ten classes at the start, of which the second takes twice.
    assert energies[0] == pytest.approx(np.log(10), abs=0.5)
    assert energies[1] == pytest.approx(2 * np.log(10), abs=1)


@pytest.mark.parametrize("how", ["__import__(name)", "importlib.import_module(name)", "import_module(name)"])
def test_modules_by_names_that_a_program_makes_up(tmp_path: Path, how: str) -> None:
    made = NET.replace("NUMBER", "find().NUMBER").replace(
        "def net", "def find():\n    return found\n\n\ndef net"
    )
    source = f"import importlib\nfrom importlib import import_module\nname = 'zoo' + 'logy'\nfound = {how}\n"
    paths = []
    for name, value in (("A", 3), ("B", 4)):
        where = folder(
            tmp_path / name, net=source + made, zoology="from cage import NUMBER\n", cage=number(value)
        )
        paths.append(network(where))
        with langevin.open(paths[-1]) as found:
            assert found.sizes["dof"] == value * 785 + 10 * (value + 1)
            assert set(json.loads(found.attrs["code"])["net:net"]) == {"net", "zoology", "cage"}
    # As in a process that comes later.
    loading._spaces.clear()
    assert langevin_("ensemble", paths[0], "-q").exit_code == 0
    folder(tmp_path / "A", cage=number(5))
    done = langevin_("ensemble", paths[0], "-q", "--force")
    assert (done.exit_code, "cage.py has changed" in done.output) == (2, True), done.output


# Names that others have, too.


@pytest.mark.parametrize("name", ["code", "types", "random", "test", "numpy", "torch", "click", "systems"])
def test_the_module_that_a_run_file_names_wins(tmp_path: Path, name: str) -> None:
    where = folder(tmp_path / "A", **{name: number(3) + SYSTEM})
    before = sys.modules.get(name)
    assert run(where, f"{name}:System") == 3
    assert again(where) == 3
    assert sys.modules.get(name) is before


@pytest.mark.parametrize("name", ["types", "random", "statistics"])
def test_a_neighbour_wins_where_it_defines_what_is_wanted(tmp_path: Path, name: str) -> None:
    where = folder(tmp_path / "A", net=f"from {name} import NUMBER\n{SYSTEM}", **{name: number(4)})
    assert run(where) == 4
    where = folder(
        tmp_path / "B", net=f"import {name} as n\nNUMBER = n.NUMBER\n{SYSTEM}", **{name: number(5)}
    )
    assert run(where) == 5


@pytest.mark.parametrize("name", ["types", "random", "numpy", "torch", "langevin", "json"])
def test_others_keep_what_they_want(tmp_path: Path, name: str) -> None:
    uses = {
        "types": "import types\nNUMBER = types.SimpleNamespace(x=6).x",
        "random": "from random import Random\nimport random\nNUMBER = 6 + 0 * random.random()",
        "numpy": "import numpy\nfrom numpy import linalg\nNUMBER = int(numpy.float64(6))",
        "torch": "import torch\nimport torch.nn as nn\nfrom torch import nn\nNUMBER = int(torch.tensor(6))",
        "langevin": "import langevin\nNUMBER = 6",
        "json": "import json, dataclasses, typing\nNUMBER = json.loads('6')",
    }
    where = folder(tmp_path / "A", net=f"{uses[name]}\n{SYSTEM}", **{name: "raise SystemExit('ran')\n"})
    assert run(where) == 6
    assert again(where) == 6


def test_a_module_may_wrap_the_one_whose_name_it_has(tmp_path: Path) -> None:
    source = "from random import Random\nimport random\nNUMBER = 7 + 0 * random.Random(1).random()\n"
    assert run(folder(tmp_path / "A", random=source + SYSTEM), "random:System") == 7


def test_what_any_file_may_name_is_in_no_folder(tmp_path: Path) -> None:
    files = {
        "torch.__init__": "raise SystemExit('ran')\n",
        "torch.nn": "raise SystemExit('ran')\n",
        "langevin.__init__": "raise SystemExit('ran')\n",
    }
    where = folder(tmp_path / "A", **files)
    given = strangers.settings({"system.module": "torch.nn:Linear"})
    for origin in (None, Origin("a.nc")):
        assert run_files.load(given, folder=where, origin=origin).code == ()


def test_a_file_wins_over_a_bare_folder_and_a_package_over_both(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", **{"net": number(1) + SYSTEM, "net.other": ""})
    assert run(where) == 1
    # A folder of data stands in for no package.
    (where / "numpy").mkdir()
    assert run(where) == 1
    folder(where, **{"net.__init__": number(2) + SYSTEM})
    assert run(where) == 2


def test_names_of_any_letters_and_paths_of_any_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = folder(tmp_path / "größe", netz_ä=number(1) + SYSTEM, helper=number(1))
    assert run(where, "netz_ä:System") == 1
    monkeypatch.chdir(tmp_path)
    assert run(Path("größe"), "netz_ä:System") == 1
    (tmp_path / "linked").symlink_to(where)
    ran = loading_of(where, "netz_ä")
    assert run(tmp_path / "linked", "netz_ä:System") == 1
    assert loading_of(where, "netz_ä") is ran


def loading_of(where: Path, module: str) -> Any:
    """Return the module of a folder that the last run used."""
    return (
        run_files.load(strangers.settings({"system.name": f"{module}:System"}), folder=where).code[0].module
    )


def test_modules_of_the_module_path_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder(tmp_path / "path", net=f"from helper import NUMBER\n{SYSTEM}", helper=number(1))
    monkeypatch.syspath_prepend(str(path))
    (tmp_path / "A").mkdir()
    assert run(tmp_path / "A") == 1
    # The run file's folder comes first.
    assert run(folder(tmp_path / "B", net=number(2) + SYSTEM)) == 2
    assert run(tmp_path / "A") == 1


# Edited.


def test_an_edited_module_is_used_as_it_is(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    assert run(where) == 1
    # As long, and perhaps within the same tick of the clock.
    for value in (2, 3, 1):
        folder(where, net=number(value) + SYSTEM)
        assert run(where) == value


def test_an_edited_neighbour_counts(tmp_path: Path) -> None:
    files = {"net": f"from helper import NUMBER\n{SYSTEM}", "helper": "from more import NUMBER\n"}
    where = folder(tmp_path / "A", **files, more=number(1))
    assert run(where) == 1
    folder(where, more=number(2))
    assert run(where) == 2
    late = SYSTEM.replace("return np", "from more import NUMBER; return np")
    folder(where, net=late)
    assert run(where) == 2
    folder(where, more=number(3))
    assert run(where) == 3


def test_a_neighbour_that_comes_or_goes_counts(tmp_path: Path) -> None:
    source = "try:\n    from extra import NUMBER\nexcept ImportError:\n    NUMBER = 1\n"
    where = folder(tmp_path / "A", net=source + SYSTEM)
    assert run(where) == 1
    folder(where, extra=number(2))
    assert run(where) == 2
    (where / "extra.py").unlink()
    assert run(where) == 1
    # So does one that stands in for another.
    folder(where, net=f"from random import *\nfrom random import choice\nNUMBER = choice([3])\n{SYSTEM}")
    assert run(where) == 3
    folder(where, random="def choice(given):\n    return 4\n")
    assert run(where) == 4


def test_what_is_unchanged_is_run_once(tmp_path: Path) -> None:
    count = "import pathlib\nwith pathlib.Path(__file__).with_suffix('.count').open('a') as f: f.write('x')\n"
    where = folder(
        tmp_path / "A",
        net=f"{count}from helper import NUMBER\n{SYSTEM}",
        other=f"{count}from helper import NUMBER\n{SYSTEM}",
        helper=count + number(1),
    )

    def counts() -> list[int]:
        return [len((where / f"{name}.count").read_text()) for name in ("net", "other", "helper")]

    for _ in range(2):
        assert [run(where), run(where, "other:System")] == [1, 1]
    assert counts() == [1, 1, 1]
    # Of the edited one alone.
    folder(where, other=f"{count}from helper import NUMBER\nNUMBER += 1\n{SYSTEM}")
    assert [run(where), run(where, "other:System")] == [1, 2]
    assert counts() == [1, 2, 1]
    folder(where, helper=count + number(5))
    assert [run(where), run(where, "other:System")] == [5, 6]
    assert counts() == [2, 3, 2]


def test_what_numba_keeps_is_found_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = "import numba\n@numba.njit(cache=True)\ndef k():\n    return NUMBER\n"
    where = folder(tmp_path / "A", net=number(1) + kernel + SYSTEM.replace("NUMBER", "k()"))
    assert run(where) == 1
    # The second of this process, the first of the next.
    folder(where, net="# edited\n" + number(2) + kernel + SYSTEM.replace("NUMBER", "k()"))
    assert run(where) == 2
    command = [sys.executable, "-m", "langevin", "run", "run.toml", "-q", "--set", "output.path=b.nc"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with langevin.open(where / "b.nc") as found:
        assert set(np.unique(found["energy"])) == {2}


def test_compiled_functions_have_the_numbers_of_their_neighbours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(kept))
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(kept))
    kernel = "import helper\nfrom langevin.machine.kernel_cache import njit\n"
    kernel += "@njit()\ndef k():\n    return helper.NUMBER\n"
    where = folder(tmp_path / "A", net=kernel + SYSTEM.replace("NUMBER", "k()"), helper=number(1))
    for value in (1, 2):
        folder(where, helper=number(value))
        assert run(where) == value
    assert len(list(kept.rglob("*.kernel"))) == 1
    # What the edited module has left, a later process does not trip over.
    command = [sys.executable, "-m", "langevin", "run", "run.toml", "-q", "--set", "output.path=b.nc"]
    done = subprocess.run(command, cwd=where, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with langevin.open(where / "b.nc") as found:
        assert set(np.unique(found["energy"])) == {2}


def test_a_system_is_built_from_what_was_checked(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", net=number(3) + NET)
    made = run_files.load(strangers.settings({"system.module": "net:net"}), folder=where)
    folder(where, net=number(4) + NET)
    path = langevin.sweep.simulation.execute(made, tmp_path / "out.nc")
    with langevin.open(path) as found:
        assert found.sizes["dof"] == 3 * 785 + 10 * 4
        recorded = json.loads(found.attrs["code"])["net:net"]
    assert recorded == {"net": sha256((number(3) + NET).encode()).hexdigest()}


def test_what_is_imported_late_is_what_was_hashed(tmp_path: Path) -> None:
    late = SYSTEM.replace("return np", "from helper import NUMBER; return np")
    where = folder(tmp_path / "A", net=late, helper=number(1))
    old = run_files.load(strangers.settings({"system.name": "net:System"}), folder=where)
    folder(where, helper=number(2))
    new = run_files.load(strangers.settings({"system.name": "net:System"}), folder=where)
    energies = [made.system_class.energy(None, np.zeros((1, 1)))[0] for made in (old, new, old)]
    assert energies == [1, 2, 1]


# What results have recorded.


#: Commands that use a result again.
USING: dict[str, Callable[[Path], list[Any]]] = {
    "ensemble": lambda path: ["ensemble", path],
    "plane": lambda path: ["plane", path],
    "connect": lambda path: ["connect", path],
    "resume": lambda path: ["run", path.with_name("run.toml"), "--resume", "--set", f"output.path={path}"],
}


def test_a_helper_that_was_edited_and_run_since_is_refused(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", net=f"from helper import NUMBER\n{NET}", helper=number(3))
    path = network(where)
    folder(where, helper="# another\n" + number(3))
    # This user has run the new one, too.
    langevin.run(where / "run.toml", {"output.path": str(where / "new.nc")}).close()
    now, then = (sha256(text.encode()).hexdigest() for text in ("# another\n" + number(3), number(3)))
    for words in USING.values():
        done = langevin_(*words(path), "-q")
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        for word in (f"{where}/helper.py has changed", now, then, "--trust"):
            assert word in done.output
    for command in ("ensemble", "resume"):
        done = langevin_(*USING[command](path), "-q", "--trust")
        assert done.exit_code == 0, done.output


def test_results_of_two_folders_are_not_mixed(tmp_path: Path) -> None:
    paths = []
    for name in "AB":
        where = folder(tmp_path / name, net=f"# {name}\n{number(3)}{NET}")
        paths.append(network(where))
    for words in (["ensemble", *paths], ["connect", *paths], ["plane", *paths, paths[0]]):
        done = langevin_(*words, "-q")
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        for word in ("system.module = 'net:net'", f"{tmp_path}/A/net.py", f"{tmp_path}/B/net.py", "--trust"):
            assert word in done.output
    assert langevin_("ensemble", *paths, "-q", "--trust").exit_code == 0


def test_each_result_has_the_code_of_its_own(tmp_path: Path) -> None:
    # The files of results lie where one works, not beside the code.
    energies = []
    for name, value in (("A", 1), ("B", 2)):
        where = folder(tmp_path / name, net=number(3 * value) + NET)
        network(where).rename(f"{name}.nc")
    loading._spaces.clear()
    for name, value in (("A", 1), ("B", 2)):
        done = langevin_("ensemble", f"{name}.nc", "-q", "-o", f"{name}.out.nc")
        assert done.exit_code == 0, done.output
        with langevin.open(f"{name}.nc") as found:
            assert found.sizes["dof"] == 3 * value * 785 + 10 * (3 * value + 1)
        energies.append(done)
    # Where the one is no longer what it was, the other does not stand in for it.
    folder(tmp_path / "B", net=number(7) + NET)
    done = langevin_("ensemble", "B.nc", "-q", "--force")
    assert done.exit_code == 2
    assert f"{tmp_path}/B/net.py has changed" in done.output


def test_a_result_that_does_not_say_its_code_is_of_none_of_two(tmp_path: Path) -> None:
    for name, value in (("A", 1), ("B", 2)):
        run(folder(tmp_path / name, net=number(value) + SYSTEM))
    given = strangers.settings({"system.name": "net:System"})
    with pytest.raises(UnknownCode, match=r"old\.nc: system\.name .*net\.py or .*net\.py\? it does not say"):
        run_files.load(given, folder=tmp_path, origin=Origin("old.nc"))
    assert run_files.load(given, folder=tmp_path / "B", origin=Origin("old.nc")).code[0].hashes == {
        "net": sha256((number(2) + SYSTEM).encode()).hexdigest()
    }


def test_a_module_that_cannot_be_read_is_not_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    monkeypatch.syspath_prepend(str(folder(tmp_path / "path", net=number(2) + SYSTEM)))
    read = Path.read_bytes

    def fail(path: Path) -> bytes:
        if path == where / "net.py":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(ConfigError, match=r"net\.py cannot be read"):
        run(where)


def test_a_start_from_other_code_is_said(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    given = strangers.settings({"system.name": "net:System"})
    given["record"] = {"snapshots": [1.0]}
    first = toml(where / "first.toml", given)
    langevin.run(first, {"output.path": str(where / "first.nc")}).close()
    second = toml(where / "second.toml", given | {"start": {"file": str(where / "first.nc")}})
    langevin.run(second, {"output.path": "same.nc"}).close()
    folder(where, net=number(2) + SYSTEM)
    with pytest.raises(
        UserError, match=r"start\.file .* other code: .*net\.py has changed \(sha256 .*trust=True"
    ):
        langevin.run(second, {"output.path": "other.nc"})
    langevin.run(second, {"output.path": "other.nc"}, trust=True).close()


def test_members_of_a_sweep_run_the_code_of_its_folder(tmp_path: Path) -> None:
    files = {"types": f"from helper import NUMBER\n{SYSTEM}"}
    where = folder(tmp_path / "B", **files, helper=number(2))
    given = strangers.settings({"system.name": "types:System"})
    file = toml(where / "run.toml", given | {"sweep": {"ensemble.seed": [1, 2]}})
    with langevin.run(file, {"output.path": "sweep.nc"}, threads=1) as found:
        assert set(np.unique(found["energy"])) == {2}


def test_a_member_of_a_sweep_runs_no_other_code(tmp_path: Path) -> None:
    from langevin.sweep import member

    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    made = run_files.load(strangers.settings({"system.name": "net:System"}), folder=where)
    job = json.loads(json.dumps(member.job(made, tmp_path / "member.nc", 1e9, tmp_path)))
    folder(where, net=number(2) + SYSTEM)
    with pytest.raises(UserError, match=r"net\.py has changed .* since the sweep began"):
        member.carry_out(job, 1, lambda part: None)


# What the process has imported itself.


def test_a_module_that_is_imported_already_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    monkeypatch.syspath_prepend(str(where))
    # Without bytecode nobody knows what a module was made from, if its file is new.
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    net = importlib.import_module("net")
    assert (
        run_files.load(strangers.settings({"system.name": "net:System"}), folder=where).system_class
        is net.System
    )
    # Elsewhere there is another.
    assert run(folder(tmp_path / "B", net=number(2) + SYSTEM)) == 2
    assert run(where) == 1
    # Edited, it is not what the file holds.
    folder(where, net=number(3) + SYSTEM)
    assert run(where) == 3
    importlib.reload(net)
    assert run(where) == 3


def test_an_import_before_an_edit_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = folder(tmp_path / "A", net=f"from helper import NUMBER\n{SYSTEM}", helper=number(1))
    monkeypatch.syspath_prepend(str(where))
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    importlib.import_module("net")
    folder(where, helper=number(2))
    assert run(where) == 2


def test_objects_of_a_script_are_those_of_its_file(tmp_path: Path) -> None:
    text = number(1) + SYSTEM + "import strangers\nfrom langevin.config import run_files\n"
    text += "made = run_files.load(strangers.settings({'system.name': 'script:System'}))\n"
    text += "assert made.system_class is System, made.system_class\n"
    where = folder(tmp_path / "A", script=text)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=where, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_modules_in_memory_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    made = types.ModuleType("cells")
    exec(number(8) + SYSTEM, made.__dict__)
    monkeypatch.setitem(sys.modules, "cells", made)
    given = strangers.settings({"system.name": "cells:System"})
    with langevin.run(given) as found:
        assert set(np.unique(found["energy"])) == {8}
        assert "code" not in found.attrs


# What Python asks of a module.

OBJECTS = """
import dataclasses, pickle, typing
from helper import NUMBER, Other
from langevin.config.keys import Section, key

@dataclasses.dataclass
class Point:
    x: int
    other: Other | None = None

class Keys(Section):
    point: typing.Literal["a", "b"] = key("a letter", default="a")

def lazy():
    import helper
    return helper

def looked_up(name):
    return __import__(name)

def evaluated(text):
    return eval(text)
"""


def test_modules_are_what_python_expects(tmp_path: Path) -> None:
    helper = number(1) + "class Other: pass\n"
    where = folder(
        tmp_path / "A",
        net="from __future__ import annotations\n" + SYSTEM + OBJECTS,
        helper=helper,
        further=number(9),
    )
    # A second folder, loaded later, changes nothing.
    module = loading_of(where, "net")
    folder(
        tmp_path / "B",
        net="from __future__ import annotations\n" + SYSTEM + OBJECTS,
        helper=helper,
        further=number(8),
    )
    other = loading_of(tmp_path / "B", "net")
    for kind in (module.Point, module.System, module.Keys, module.Other):
        assert getattr(sys.modules[kind.__module__], kind.__name__) is kind
        assert inspect.getsource(kind).startswith(("class", "@dataclasses"))
    point = module.Point(3, module.Other())
    copy = pickle.loads(pickle.dumps(point))
    assert type(copy) is module.Point is not other.Point
    assert type(copy.other) is module.Other
    assert typing.get_type_hints(module.Point)["other"] == module.Other | None
    assert dataclasses.replace(point, x=4).x == 4
    assert module.Keys(point="b").point == "b"
    with pytest.raises(ValueError, match="Input should be"):
        module.Keys(point="c")
    assert module.lazy() is sys.modules[module.Other.__module__]
    assert other.lazy() is not module.lazy()
    assert [m.looked_up("further").NUMBER for m in (module, other)] == [9, 8]
    assert module.evaluated("__import__('helper')") is module.lazy()
    assert module.looked_up("os.path") is os
    with pytest.raises(ModuleNotFoundError, match="No module named 'nowhere'"):
        module.looked_up("nowhere")


def test_threads_load_a_module_once(tmp_path: Path) -> None:
    where = folder(tmp_path / "A", net="import time\ntime.sleep(0.05)\n" + number(1) + SYSTEM)
    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(loading_of(where, "net"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len({id(module) for module in found}) == 1


# What is wrong with it.

BROKEN = {
    "syntax": ("def f(:\n", "net.py, line 1"),
    "indentation": ("if 1:\nx\n", "net.py, line 2"),
    "name": ("\nundefined\n", "net.py, line 2"),
    "attribute": ("import math\nmath.nothing\n", "net.py, line 2"),
    "key": ("{}['k']\n", "net.py, line 1"),
    "division": ("1 / 0\n", "net.py, line 1"),
    "file": ("open('no such file')\n", "net.py, line 1"),
    "several lines": ("raise ValueError('one\\ntwo')\n", "one two"),
    "program": ("import sys\nsys.exit(0)\n", "ends the program"),
    "no such module": ("import nowhere\n", "No module named 'nowhere'"),
    "no such neighbour": ("from . import helper\n", "no known parent package"),
    "no such object": ("from helper import nothing\n", "cannot import name 'nothing' from 'helper'"),
    "helper": ("import broken\n", "broken.py, line 1"),
    "no package": ("import helper.more\n", "'helper' is not a package"),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_module_is_one_line(tmp_path: Path, how: str) -> None:
    source, word = BROKEN[how]
    where = folder(tmp_path / "A", net=source, helper="", broken="def f(:\n")
    file = toml(where / "run.toml", strangers.settings({"system.name": "net:System"}))
    for command in ("validate", "run"):
        done = langevin_(command, file)
        assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
        assert word in done.output
        assert "system.name = 'net:System'" in done.output
        assert "langevin_user" not in done.output
    # Mended, it is used.
    folder(where, net=number(1) + SYSTEM)
    assert run(where) == 1


@pytest.mark.parametrize("key", ["system.name", "system.module", "system.loss", "data.name"])
def test_an_object_that_is_not_there(tmp_path: Path, key: str) -> None:
    where = folder(tmp_path / "A", net=number(1) + SYSTEM)
    for target, word in (("net:Nothing", "net.py"), ("nowhere:Nothing", str(where))):
        file = toml(where / "run.toml", strangers.settings({key: target}))
        done = langevin_("validate", file)
        assert done.exit_code == 2
        assert f"{key} = {target!r}" in done.output.replace('"', "'"), done.output
        assert word in done.output


# What is said of sources without running them.


def test_what_a_source_wants_and_defines(tmp_path: Path) -> None:
    text = "import a.b.c, d\nimport e as f\nfrom g import h, i as j\nfrom k.l import m\nfrom n import *\n"
    text += "d.x.y, f.z, q.r, a.s, d.__doc__\n"
    expected = {"a": {"b", "s"}, "d": {"x"}, "e": {"z"}, "g": {"h", "i"}, "k": {"l"}, "n": set()}
    assert syntax.wanted(text.encode()) == expected
    text = "import a.b, c as d\nfrom e import f as g\nh = i = 1\nj: int = 2\n(k, [l, *m]) = x\n"
    text += "for n in y: o = 1\ntry:\n  def p(): q = 1\nexcept E as r: pass\nelse:\n  class s: t = 1\n"
    text += "if (u := 1): [v for v in w]\n"
    file = tmp_path / "a.py"
    file.write_text(text)
    assert syntax.defined(file) == frozenset("adghijklmnopsu")
    file.write_text("from a import *\n")
    assert syntax.defined(file) is None
    (tmp_path / "a.so").touch()
    assert syntax.defined(tmp_path / "a.so") is None


def test_relative_names() -> None:
    cases = {
        ("x", 1, "p.m", False): "p.x",
        ("", 1, "p.m", False): "p",
        ("x", 1, "p", True): "p.x",
        ("x", 2, "p.q.m", False): "p.x",
        ("x", 2, "p.m", False): "",
        ("x", 1, "m", False): "",
    }
    for given, expected in cases.items():
        assert syntax.absolute(*given) == expected
