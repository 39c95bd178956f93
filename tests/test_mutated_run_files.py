"""Whatever stands in a run file: it is valid, or what is wrong with it is said in lines that one can read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import mutation
import pytest

from langevin.config import run_files
from langevin.errors import MOST_FAULTS, ConfigError, UserError
from langevin.files.paths import Paths

#: Characters of a line, and of all of them.
LINE, ALL = 2000, 20_000


def outcome(content: bytes, file: Path) -> str:
    """Validate as the command does; anything but a `UserError` is the failure of the test."""
    file.write_bytes(content)
    try:
        settings = run_files.load(file)
        Paths(Path(settings.output.path)).check(force=True)
    except UserError as error:
        lines = str(error).splitlines()
        assert max(map(len, lines)) <= LINE and len(str(error)) <= ALL, str(error)[:3000]
        many = len(error.faults) if isinstance(error, ConfigError) else 1
        assert len(lines) <= (1 if many == 1 else min(many, MOST_FAULTS) + 2), str(error)[:3000]
        return "faults"
    return "valid"


def outcomes(numbers: range, seed: int, folder: Path) -> Counter[str]:
    found: Counter[str] = Counter()
    for number in numbers:
        parent, content = mutation.mutant(number, seed)
        try:
            found[outcome(content, folder / "mutant.toml")] += 1
        except BaseException as error:
            error.add_note(f"mutant {number} of seed {seed}, of {parent}")
            raise
    assert {p.name for p in folder.iterdir()} == {"mutant.toml"}
    return found


def test_mutants_are_valid_or_one_can_read_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = outcomes(range(200), 16, tmp_path)
    assert found["valid"] > 10 and found["faults"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_thousands_of_mutants(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = outcomes(range(1000), 100 + seed, tmp_path)
    print(f"seed {100 + seed}: {dict(found)}")


def test_mutants_are_the_same_each_time() -> None:
    assert [mutation.mutant(k, 3) for k in range(20)] == [mutation.mutant(k, 3) for k in range(20)]
    assert len({mutation.mutant(k, 3)[1] for k in range(100)}) > 95
