"""A file from a stranger runs no code, unless it is known to this user, or trusted."""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import textwrap
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import strangers
import torch
from click.testing import CliRunner, Result
from matplotlib.figure import Figure
from test_restart import write_run_file
from torch import nn

import langevin
from langevin import errors
from langevin.code import held, known, loading, sources, trust, user_code
from langevin.code.user_code import Origin
from langevin.commands.cli import main
from langevin.config import build, run_files
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, Interrupted, LangevinWarning, UnknownCode, UserError
from langevin.sweep import simulation
from langevin.systems.networks.nets.factories import makes_modules


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that knows nothing of what other tests have run."""
    monkeypatch.setenv(known.VARIABLE, str(tmp_path / "state"))
    monkeypatch.setattr(trust, "_said", set())
    return tmp_path / "state"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of a stranger's, in which the user works."""
    made = tmp_path / "theirs"
    made.mkdir()
    monkeypatch.chdir(made)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return made


def langevin_(*words: Any) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


#: What settings may name → "section.key" and the object, of the stranger's module or of another.
NAMED = {
    "system": ("system.name", "{}:System"),
    "class": ("system.module", "{}:Net"),
    "function": ("system.module", "{}:net"),
    "data": ("data.name", "{}:Data"),
    "loss": ("system.loss", "{}:loss"),
    "tracker": ("output.track", "{}:tracker"),
}

#: Commands that build the system of a file → their arguments, given the folder and the settings in the file.
BUILDING: dict[str, Callable[[Path, dict[str, Any]], list[Any]]] = {
    "connect": lambda folder, given: ["connect", _result(folder, given), "-q"],
    "connect two": lambda folder, given: ["connect", _result(folder, given), _result(folder, given), "-q"],
    "plane": lambda folder, given: ["plane", _result(folder, given), "-q"],
    "plane of principal components": lambda f, given: ["plane", "--principal", _result(f, given), "-q"],
    "trajectory": lambda f, given: ["plane", _own(f), "--trajectory", _result(f, given), "-q"],
    "plane of a curve": lambda folder, given: ["plane", _curve(folder, given), "-q"],
    "ensemble": lambda folder, given: ["ensemble", _result(folder, given), "-q"],
    "resume": lambda folder, given: ["resume", strangers.checkpoint(folder, given), "-q"],
    "resume a sweep": lambda folder, given: ["resume", strangers.sweep(folder, given), "-q"],
    "ends": lambda folder, given: ["run", _curve_run(folder, given), "-q"],
    "validate ends": lambda folder, given: ["validate", _curve_run(folder, given)],
}


def _result(folder: Path, given: dict[str, Any]) -> Path:
    strangers.result(folder / "theirs.nc", given)
    return folder / "theirs.nc"


def _own(folder: Path) -> Path:
    strangers.result(folder / "own.nc", strangers.settings({}))
    return folder / "own.nc"


def _curve(folder: Path, given: dict[str, Any]) -> Path:
    strangers.curve(folder / "curve.nc", given, _result(folder, given))
    return folder / "curve.nc"


def _curve_run(folder: Path, given: dict[str, Any]) -> Path:
    name = "network_curve" if "data" in given else "curve"
    text = f'[system]\nname = "{name}"\nstart = "{_result(folder, given).name}"\n'
    text += "[dynamics]\nt_max = 4\n" + ("" if "data" in given else "dt = 0.1\ntemperature = 0.0\n")
    (folder / "curve.toml").write_text(text)
    return folder / "curve.toml"


@pytest.mark.parametrize("named", NAMED)
@pytest.mark.parametrize("command", BUILDING)
def test_no_command_runs_code_of_a_stranger(folder: Path, command: str, named: str) -> None:
    module, trace = strangers.name(), folder / "trace"
    source = strangers.MODULE.format(trace=str(trace))
    (folder / f"{module}.py").write_text(source)
    key, target = NAMED[named]
    given = strangers.settings({key: target.format(module)})
    done = langevin_(*BUILDING[command](folder, given))
    assert done.exit_code == 2, done.output
    assert done.output.count("\n") == 1
    for word in (key, target.format(module), f"{module}.py", sha256(source.encode()).hexdigest(), "--trust"):
        assert word in done.output
    assert not trace.exists()
    assert not _is_imported(module)
    assert str(folder) not in sys.path


@pytest.mark.parametrize(
    ("key", "target", "arguments"),
    [
        ("system.module", "os:system", {"command": "touch trace"}),
        ("system.module", "subprocess:run", {"args": ["touch", "trace"]}),
        ("system.module", "subprocess:Popen", {"args": ["touch", "trace"]}),
        ("system.module", "pathlib:Path.touch", {"self": "trace"}),
        ("system.module", "builtins:eval", {"source": "open('trace', 'w')"}),
        ("system.module", "torch.hub:load", {"repo_or_dir": ".", "source": "local", "model": "net"}),
        ("system.module", "torch.utils.cpp_extension:load", {"name": "x", "sources": []}),
        ("system.module", "torch.nn.modules.module:os.system", {"command": "touch trace"}),
        ("system.module", "torch.nn:Parameter", {}),
        ("system.module", "torch.nn.modules.module:warnings", {}),
        ("system.module", "langevin.systems.networks.nets.factories:inspect", {}),
        ("system.module", "this:s", {}),
        ("system.module", "..theirs:net", {}),
        ("system.module", "../theirs:net", {}),
        ("system.module", ":", {}),
        ("system.loss", "this:s", {}),
        ("system.loss", "subprocess:run", {}),
        ("system.loss", "torch.nn:CrossEntropyLoss", {}),
        ("system.loss", "conv2d", {}),
        ("system.name", "this:s", {}),
        ("data.name", "this:s", {}),
    ],
)
def test_what_is_no_factory_is_never_called(
    folder: Path, key: str, target: str, arguments: dict[str, Any]
) -> None:
    given = strangers.settings({key: target})
    if arguments:
        given["system"]["arguments"] = arguments
    strangers.result(folder / "a.nc", given)
    done = langevin_("ensemble", "a.nc", "-q", "--trust")
    assert done.exit_code == 2, done.output
    assert target in done.output
    assert not Path("trace").exists()
    # Some modules do something when they are imported.
    assert "this" not in sys.modules
    if key.endswith(("module", "loss")):
        # Nor in a run file of the user's own.
        write_run_file(folder / "own.toml", {"title": "own", **given})
        for command in ("validate", "run"):
            done = langevin_(command, "own.toml")
            assert (done.exit_code, done.output.count("\n")) == (2, 1), done.output
            assert target in done.output
        assert not Path("trace").exists()
        assert "this" not in sys.modules


@pytest.mark.parametrize("command", ["info", "plot", "compare", "export", "open"])
def test_reading_runs_no_code(folder: Path, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Most of the time of a figure.
    monkeypatch.setattr(Figure, "get_layout_engine", lambda figure: None)
    module, trace = strangers.name(), folder / "trace"
    (folder / f"{module}.py").write_text(strangers.MODULE.format(trace=str(trace)))
    named = {NAMED[name] for name in ("class", "data", "loss")}
    given = strangers.settings({key: target.format(module) for key, target in named})
    given["system"]["name"] = f"{module}:System"
    strangers.curve(folder / "curve.nc", given, _result(folder, given))
    unfinished = strangers.checkpoint(folder, given).with_name("unfinished.checkpoint.nc")
    for path in (folder / "theirs.nc", folder / "curve.nc", unfinished):
        if command == "open":
            with langevin.open(path) as found:
                assert [labels for labels, _ in langevin.members(found)] == [{}]
            continue
        done = langevin_(command, path, *([_own(folder), "--force"] if command == "compare" else []))
        # There are no particles in it.
        assert done.exit_code == (2 if command == "export" else 0), done.output
    assert not trace.exists()
    assert not _is_imported(module)


# What the user has run, and what has changed since.


@pytest.fixture
def ran(folder: Path) -> tuple[str, Path]:
    """Return the name of a module of the user's, and the result of a run that used it."""
    module = strangers.name()
    source = strangers.MODULE.format(trace=str(folder / "trace"))
    (folder / f"{module}.py").write_text(source)
    given = strangers.settings({"system.module": f"{module}:net", "system.loss": f"{module}:loss"})
    langevin.run({**given, "output": {"path": "mine.nc", "figure": False}}).close()
    _forget(module)
    return module, folder / "mine.nc"


def _is_imported(module: str) -> bool:
    """Return whether this process has imported a module, under whatever name."""
    return any(module in name.split(".") for name in sys.modules)


def _forget(module: str) -> None:
    """Be as a new process is that has not imported a module."""
    loading._spaces.clear()
    for name in [name for name in sys.modules if module in name.split(".")]:
        del sys.modules[name]


def test_what_this_user_ran_needs_no_word(ran: tuple[str, Path], state: Path) -> None:
    module, path = ran
    expected = sha256((path.parent / f"{module}.py").read_bytes()).hexdigest()
    with langevin.open(path) as found:
        assert json.loads(found.attrs["code"]) == {
            f"{module}:net": {module: expected},
            f"{module}:loss": {module: expected},
        }
    assert len(list((state / "trusted").iterdir())) == 2
    assert state.joinpath("trusted").stat().st_mode & 0o777 == 0o700
    for command in (["ensemble", path], ["plane", path, "--grid", 2], ["connect", path, "-o", "joined.nc"]):
        done = langevin_(*command, "-q")
        assert done.exit_code == 0, done.output
        assert _is_imported(module)
        assert module not in sys.modules
        assert str(path.parent) not in sys.path
        _forget(module)
    # The curve says, too, which code it ran.
    with langevin.open("joined.nc") as found:
        assert f"{module}:net" in json.loads(found.attrs["code"])


def test_a_result_elsewhere_finds_the_code_where_it_was_run(ran: tuple[str, Path], tmp_path: Path) -> None:
    _, path = ran
    path.rename(tmp_path / "moved.nc")
    assert langevin_("ensemble", tmp_path / "moved.nc", "-q").exit_code == 0


def test_changed_code_is_refused_and_trusted(ran: tuple[str, Path]) -> None:
    module, path = ran
    file = path.parent / f"{module}.py"
    (path.parent / "trace").unlink()
    file.write_text(file.read_text() + "# another\n")
    done = langevin_("ensemble", path, "-q")
    assert done.exit_code == 2
    for word in ("has changed", "since", sha256(file.read_bytes()).hexdigest(), "--trust", str(file)):
        assert word in done.output
    assert not (path.parent / "trace").exists()
    assert langevin_("ensemble", path, "-q", "--trust").exit_code == 0
    assert (path.parent / "trace").exists()


@pytest.mark.parametrize("how", ["command", "python"])
def test_trust_is_remembered(folder: Path, how: str) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    given = strangers.settings({"system.module": f"{module}:net"})
    strangers.result(folder / "a.nc", given)
    assert langevin_("ensemble", "a.nc", "-q").exit_code == 2
    if how == "command":
        assert langevin_("ensemble", "a.nc", "-q", "--trust").exit_code == 0
    else:
        with trust.trusting(True):
            run_files.load(given, folder=folder, origin=Origin("a.nc"))
    _forget(module)
    assert langevin_("ensemble", "a.nc", "-q", "--force").exit_code == 0
    # Of this object alone: the file may ask for no other.
    strangers.result(folder / "b.nc", strangers.settings({"system.module": f"{module}:Net"}))
    assert langevin_("ensemble", "b.nc", "-q", "--force").exit_code == 2


def test_resume_knows_its_own_code_and_sees_that_it_has_changed(folder: Path) -> None:
    module = strangers.name()
    file = folder / f"{module}.py"
    file.write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    given = strangers.settings({"system.name": f"{module}:System"})
    given["output"] |= {"path": "mine.nc", "checkpoint_interval": 0.0}
    with pytest.raises(Interrupted):
        simulation.execute(run_files.load(given), watch=_stop)
    _forget(module)
    source = file.read_text()
    file.write_text(source + "# another\n")
    with pytest.raises(UnknownCode, match=r"has changed .* since"):
        langevin.resume("mine.nc")
    assert not _is_imported(module)
    file.write_text(source)
    with pytest.raises(Interrupted):
        simulation.execute_resume("mine.nc", watch=_stop)
    _forget(module)
    file.write_text(source + "# another\n")
    with langevin.resume("mine.nc", trust=True) as found:
        hashes = json.loads(found.attrs["code"])[f"{module}:System"]
    assert hashes == {module: sha256(file.read_bytes()).hexdigest()}


def _stop(part: float) -> None:
    raise Interrupted("stopped")


def test_a_sweep_of_own_code_runs_and_resumes(folder: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.SYSTEM)
    given = strangers.settings({"system.name": f"{module}:System"})
    strangers.sweep(folder, given)
    assert langevin_("resume", "sweep.nc", "-q", "--threads", 1).exit_code == 2
    run = {**given, "output": {"path": "own.nc", "figure": False}}
    with langevin.run({**run, "sweep": {"ensemble.seed": [1, 2]}}, threads=1) as found:
        assert found.attrs["status"] == "complete"
        assert f"{module}:System" in found.attrs["code"]
    _forget(module)
    # The same code is known now, whoever's sweep it is.
    done = langevin_("resume", "sweep.nc", "-q", "--threads", 1)
    assert done.exit_code == 0, done.output
    assert str(folder) not in sys.path


def test_trust_goes_along_to_the_members_of_a_sweep(folder: Path, state: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.SYSTEM)
    strangers.sweep(folder, strangers.settings({"system.name": f"{module}:System"}))
    # Nothing can be remembered.
    state.write_text("in the way")
    done = langevin_("resume", "sweep.nc", "-q", "--threads", 1, "--trust")
    assert done.exit_code == 0, done.output
    assert done.output.startswith("langevin: warning: cannot remember") and done.output.count("\n") == 1


def test_members_import_nothing_from_the_working_directory(folder: Path) -> None:
    (folder / "json.py").write_text("import pathlib\npathlib.Path('trace').touch()\n")
    given = strangers.settings({"system.name": "harmonic"})
    given["output"]["path"] = "own.nc"
    langevin.run({**given, "sweep": {"ensemble.seed": [1]}}).close()
    assert not Path("trace").exists()


def test_what_goes_on_writes_beside_its_checkpoint_alone(folder: Path, tmp_path: Path) -> None:
    given = strangers.settings({"system.name": "harmonic"})
    given["output"]["path"] = str(tmp_path / "elsewhere.nc")
    with pytest.raises(Interrupted):
        simulation.execute(run_files.load(given), watch=_stop)
    for path in tmp_path.glob("elsewhere.*"):
        path.rename(folder / path.name.replace("elsewhere", "mine"))
    target = tmp_path / "precious"
    target.write_text("precious")
    for name in (
        "mine.checkpoint.references",
        ".mine.nc.partial",
        ".mine.checkpoint.nc.partial",
        ".mine.nc.lock",
    ):
        there = (folder / name).read_bytes() if (folder / name).exists() else None
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)
        with pytest.raises(UserError, match=f"{name}: a symbolic link"):
            langevin.resume(folder / "mine.nc")
        (folder / name).unlink()
        if there is not None:
            (folder / name).write_bytes(there)
    assert target.read_text() == "precious"
    langevin.resume(folder / "mine.nc").close()
    assert (folder / "mine.nc").exists()
    assert list(tmp_path.glob("elsewhere*")) == []


def test_a_sweep_writes_beside_its_folder_alone(folder: Path, tmp_path: Path) -> None:
    given = strangers.settings({"system.name": "harmonic"})
    given["output"]["path"] = str(tmp_path / "elsewhere.nc")
    strangers.sweep(folder, given)
    (folder / "sweep.sweep" / ".member-0001.nc.partial").symlink_to(tmp_path / "precious")
    with pytest.raises(errors.LangevinError, match="a symbolic link"):
        langevin.resume(folder / "sweep.nc", threads=1)
    (folder / "sweep.sweep" / ".member-0001.nc.partial").unlink()
    langevin.resume(folder / "sweep.nc", threads=1).close()
    assert list(tmp_path.glob("*e*")) == [folder]


def test_a_store_that_cannot_be_written_is_one_line(folder: Path, state: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.SYSTEM)
    state.write_text("in the way")
    given = strangers.settings({"system.name": f"{module}:System"})
    with pytest.warns(LangevinWarning, match="cannot remember") as caught:
        for _ in range(2):
            langevin.run(given).close()
    (said,) = caught
    assert "\n" not in str(said.message) and str(state) in str(said.message)


def test_without_a_home_nothing_is_known(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A path from the working directory would be the stranger's word for what the user has run.
    monkeypatch.setenv(known.VARIABLE, "state")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not known.knows("a:b", {"a": "0"})
        assert list(known.places("a:b")) == []
    with pytest.raises(OSError, match=known.VARIABLE):
        known.remember("a:b", {"a": "0"}, folder)


# What the hash stands for.


def test_a_neighbour_is_part_of_the_code(folder: Path, tmp_path: Path) -> None:
    module, neighbour = strangers.name(), strangers.name()
    source = strangers.MODULE.format(trace=str(folder / "trace"))
    (folder / f"{module}.py").write_text(f"from {neighbour} import NUMBER\n{source}")
    (folder / f"{neighbour}.py").write_text("NUMBER = 1\n")
    given = strangers.settings({"system.name": f"{module}:System"})
    langevin.run(given).close()
    _forget(module)
    _forget(neighbour)
    assert known.knows(f"{module}:System", _hashes(folder, module, neighbour))
    # The same module beside another neighbour, which a stranger sends along.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / f"{module}.py").write_bytes((folder / f"{module}.py").read_bytes())
    (elsewhere / f"{neighbour}.py").write_text("raise SystemExit('ran')\n")
    with pytest.raises(UnknownCode, match=neighbour):
        run_files.load(given, folder=elsewhere, origin=Origin("a.nc"))


def _hashes(folder: Path, *modules: str) -> dict[str, str]:
    return {m: sha256((folder / f"{m}.py").read_bytes()).hexdigest() for m in modules}


def test_bytecode_beside_a_source_is_not_read(folder: Path) -> None:
    import py_compile

    module = strangers.name()
    file = folder / f"{module}.py"
    file.write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    other = folder / "other.py"
    other.write_text("raise SystemExit('ran')\n")
    compiled = importlib.util.cache_from_source(str(file))
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(other), compiled, invalidation_mode=mode)
    given = strangers.settings({"system.name": f"{module}:System"})
    with trust.trusting(True):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))


@pytest.mark.parametrize("kind", ["bytecode", "extension", "package of an extension"])
def test_what_has_no_source_is_never_imported(folder: Path, kind: str) -> None:
    module = strangers.name()
    ending = ".pyc" if kind == "bytecode" else importlib.machinery.EXTENSION_SUFFIXES[0]
    file = folder / f"{module}{ending}"
    if kind.startswith("package"):
        (folder / module).mkdir()
        file = folder / module / f"__init__{ending}"
    file.write_bytes(b"nothing that could be looked at")
    # A source of that name, which Python would not take, changes nothing.
    (folder / f"{module}.py").write_text("raise SystemExit('ran')\n") if kind != "bytecode" else None
    given = strangers.settings({"system.name": f"{module}:System"})
    with trust.trusting(True), pytest.raises(UnknownCode, match="no source file"):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))


def test_a_package_is_found_without_importing_it(folder: Path) -> None:
    package = strangers.name()
    (folder / package).mkdir()
    init = "import pathlib\npathlib.Path('trace').touch()\n"
    (folder / package / "__init__.py").write_text(init)
    (folder / package / "layers.py").write_text("from . import numbers\n")
    (folder / package / "numbers.py").write_text("ONE = 1\n")
    source = f"import numpy\nimport json\nfrom {package} import layers\nfrom langevin import config\n"
    (folder / package / "net.py").write_text(source)
    found = sources.locate(f"{package}.net", [folder])
    assert found is not None
    assert (found.kind, found.file) == ("own", folder / package / "net.py")
    files = sources.with_neighbours(found, [folder])
    assert all(file.digest == sha256(file.path.read_bytes()).hexdigest() for file in files.values())
    assert set(files) == {f"{package}{end}" for end in (".net", "", ".layers", ".numbers")}
    assert next(iter(files)) == f"{package}.net"
    assert not Path("trace").exists()
    given = strangers.settings({"system.name": f"{package}.net:System"})
    with pytest.raises(UnknownCode):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))
    assert not Path("trace").exists()
    assert not _is_imported(package)


@pytest.mark.parametrize(
    "how",
    [
        "__import__('hid' + 'den')",
        "import importlib; importlib.import_module('hid' + 'den')",
        "from importlib import import_module as i; i(__package__ + '.hid' + 'den')",
        "import importlib; importlib.__import__('hid' + 'den')",
        "exec('import hid' + 'den')",
        "import pkgutil; [m.module_finder.find_spec(m.name).loader for m in pkgutil.iter_modules()]",
    ],
)
def test_what_was_not_looked_at_is_not_imported(folder: Path, how: str) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(f"try:\n    {how}\nexcept ImportError: pass\n{strangers.SYSTEM}")
    (folder / "hidden.py").write_text("import pathlib\npathlib.Path('trace').touch()\n")
    given = strangers.settings({"system.name": f"{module}:System"})
    with trust.trusting(True):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))
    assert not Path("trace").exists()


def test_what_was_not_looked_at_is_not_imported_from_a_package(folder: Path) -> None:
    package = strangers.name()
    (folder / package).mkdir()
    how = "__import__(__name__.rpartition('.')[0] + '.hidden')"
    (folder / package / "net.py").write_text(f"try:\n    {how}\nexcept ImportError: pass\n{strangers.SYSTEM}")
    (folder / package / "hidden.py").write_text("import pathlib\npathlib.Path('trace').touch()\n")
    given = strangers.settings({"system.name": f"{package}.net:System"})
    with trust.trusting(True):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))
    assert not Path("trace").exists()
    # The user's own run file may do so.
    run_files.load(given, folder=folder)
    assert Path("trace").exists()


def test_a_module_beside_the_file_stands_in_for_no_other(folder: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    for name in ("numpy", "langevin", "this"):
        (folder / f"{name}.py").write_text("raise SystemExit('ran')\n")
    given = strangers.settings({"system.name": f"{module}:System"})
    with trust.trusting(True):
        run_files.load(given, folder=folder, origin=Origin("a.nc"))
    assert str(folder) not in sys.path


def test_a_file_that_changes_while_it_is_looked_at_is_not_run(folder: Path) -> None:
    module = strangers.name()
    file = folder / f"{module}.py"
    file.write_text("NUMBER = 1\n")
    found = sources.locate(module, [folder])
    assert found is not None
    files = sources.with_neighbours(found, [folder])
    file.write_text("raise SystemExit('ran')\n")
    for is_closed in (True, False):
        assert loading.load(module, files, [folder], is_closed).NUMBER == 1


def test_what_a_notebook_defines_is_known_there_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    from langevin.systems.harmonic import Harmonic

    monkeypatch.setattr(sys.modules["__main__"], "Cell", type("Cell", (Harmonic,), {}), raising=False)
    given = strangers.settings({"system.name": "__main__:Cell"})
    monkeypatch.setattr(held, "_held", {})
    with pytest.raises(UnknownCode, match="no file"):
        run_files.load(given, origin=Origin("a.nc"))
    assert (
        user_code.imports(run_files.load(given).code) == "; imports __main__ (system.name = '__main__:Cell')"
    )
    assert run_files.load(given, origin=Origin("a.nc")).system_name == "__main__:Cell"


# What may make modules, and what is said.

FACTORIES = """
    import functools, os, subprocess
    from os import system
    from shutil import rmtree
    from torch import nn
    class Net(nn.Module): pass
    class Maker:
        def __call__(self): return Net()
        def make(self): return Net()
        @classmethod
        def build(cls): return Net()
    def net(): return Net()
    def deco(f): return lambda: f()
    partial = functools.partial(net)
    of_class = functools.partial(nn.Linear, 3)
    cached = functools.lru_cache(net)
    wrapped = functools.wraps(net)(lambda: net())
    made = deco(net)
    maker, method, build = Maker(), Maker().make, Maker.build
    removing = functools.partial(rmtree, "x")
    module = nn.Linear(2, 2)
    run = subprocess.run
    evaluate = eval
    number = 3
"""


def test_factories(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = strangers.name()
    (folder / f"{name}.py").write_text(textwrap.dedent(FACTORIES))
    monkeypatch.syspath_prepend(str(folder))
    found = importlib.import_module(name)
    good = "Net net partial of_class cached wrapped made maker method build"
    bad = "system rmtree removing module run evaluate number Maker"
    assert [n for n in good.split() if not makes_modules(getattr(found, n))] == []
    assert [n for n in bad.split() if makes_modules(getattr(found, n))] == []
    assert makes_modules(nn.Linear)
    assert makes_modules(functools.partial(nn.Linear, 3))
    assert not makes_modules(torch.load)


def test_factories_of_installed_packages_say_that_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = strangers.name()
    (tmp_path / f"{name}-1.0.dist-info").mkdir()
    source = (
        "import torch\nfrom torch import nn\ndef a() -> nn.Module: ...\ndef b(): ...\ndef c() -> int: ...\n"
    )
    source += "def d() -> 'torch.nn.Linear': ...\ndef e() -> 'nowhere.Module': ...\n"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    found = importlib.import_module(name)
    place = sources.locate(name)
    assert place is not None
    assert place.kind == "installed"
    assert [n for n in "abcde" if makes_modules(getattr(found, n))] == ["a", "d"]


def test_validate_says_what_it_imports(folder: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    named = {
        "system.module": f"{module}:Net",
        "system.loss": f"{module}:loss",
        "data.name": f"{module}:Data",
    }
    write_run_file(folder / "mine.toml", {"title": "mine", **strangers.settings(named)})
    said = langevin_("validate", "mine.toml").output
    assert said.count("\n") == 1
    assert "imports" in said
    for key, target in named.items():
        assert f"{folder / module}.py ({key} = '{target}')" in said
    write_run_file(folder / "plain.toml", {"title": "plain", **strangers.settings({})})
    assert "imports" not in langevin_("validate", "plain.toml").output


def test_an_attribute_that_is_not_ours_is_no_word() -> None:
    for said in (None, 3, "[", "[1]", '{"a": 1}', "[" * 100_000):
        assert Origin.of("a.nc", said).recorded == {}


def test_a_users_loss_is_checked_before_it_is_run(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no_such_module"):
        run_files.load(strangers.settings({"system.loss": "no_such_module:loss"}))


def test_state_is_not_the_users_own(state: Path) -> None:
    assert str(known.folder()) == os.environ[known.VARIABLE] == str(state)
    assert issubclass(UserError, Exception)


def test_what_is_built_later_is_asked_for_again(folder: Path) -> None:
    module = strangers.name()
    (folder / f"{module}.py").write_text(strangers.MODULE.format(trace=str(folder / "trace")))
    given = strangers.settings({"system.module": f"{module}:Net"})
    with trust.trusting(True, remembers=False):
        made = run_files.load(given, folder=folder, origin=Origin("a.nc"))
    with pytest.raises(UnknownCode, match=r"a\.nc: system\.module"):
        build.build(made, Ensemble.regular(1, 1, 0))
