"""Where archives are found, how they are downloaded, and how a run and the command line use them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from tiny_archive import CONTENTS, FILES, LABELS, NOBODY, PIXELS, Tiny, idx_bytes, packed

import langevin
from langevin.commands.cli import main
from langevin.config import registry, run_files
from langevin.core.ensemble import Ensemble
from langevin.errors import ConfigError, StorageError, UserError
from langevin.systems.networks.data import depot
from langevin.systems.networks.data.archives import MNIST, FashionMNIST
from langevin.systems.networks.data.base import Data
from langevin.systems.networks.data.depot import Archive, File


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's files, nor writes beside them."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(depot, "cache", lambda: folder)
    monkeypatch.delenv(depot.VARIABLE, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return folder


def load(**keys: Any) -> Data:
    return Tiny(Tiny.Parameters(**keys)).load(Ensemble.regular(1, 1, seed=5))


def place(folder: Path, pack: bool = True, level: int = 9) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in CONTENTS.items():
        if pack:
            (folder / name).write_bytes(gzip.compress(content, level, mtime=0))
        else:
            (folder / name.removesuffix(".gz")).write_bytes(content)
    return folder


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("inner", ["tiny_set", "tiny-set", "."])
@pytest.mark.parametrize(("pack", "level"), [(True, 9), (True, 0), (False, 0)])
def test_a_local_copy_is_found(inner: str, pack: bool, level: int, tmp_path: Path, own_cache: Path) -> None:
    folder = place(tmp_path / "here" / inner, pack, level)
    before = snapshot(tmp_path)
    found = load(directory=str(tmp_path / "here"))
    np.testing.assert_array_equal(found.train.inputs[:, 0], PIXELS[:4])
    np.testing.assert_array_equal(found.test.labels, LABELS[4:])
    assert Path(found.attributes["source"]) == folder
    # The hash names the contents, however they are packed.
    assert found.attributes["hash"].startswith(f"train-images.gz md5:{FILES[0].packed}; train-labels.gz md5:")
    assert snapshot(tmp_path) == before
    assert not own_cache.exists()


def test_the_order_of_places(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = [place(tmp_path / name) for name in ("named", "variable")]
    cached = place(own_cache / "tiny_set")
    monkeypatch.setenv(depot.VARIABLE, str(folders[1]))
    assert load(directory=str(folders[0])).attributes["source"] == str(folders[0])
    assert load().attributes["source"] == str(folders[1])
    (folders[1] / "test-labels.gz").unlink()
    assert load().attributes["source"] == f"{folders[1]}, {cached}"
    monkeypatch.setenv(depot.VARIABLE, "")
    assert load().attributes["source"] == str(cached)


def test_a_folder_that_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match=r"data.directory = '.*nowhere': no such folder"):
        load(directory=str(tmp_path / "nowhere"))
    monkeypatch.setenv(depot.VARIABLE, str(tmp_path / "gone"))
    with pytest.raises(UserError, match=r"LANGEVIN_DATA = '.*gone': no such folder"):
        load()


def test_a_users_file_of_another_hash_is_refused_and_kept(tmp_path: Path) -> None:
    folder = place(tmp_path / "here")
    wrong = packed(idx_bytes(PIXELS[:3]))
    (folder / "train-images.gz").write_bytes(wrong)
    words = f"train-images.gz: wrong hash: expected md5 {FILES[0].packed}, found {depot.md5(wrong)}"
    with pytest.raises(UserError, match=words):
        load(directory=str(folder))
    assert (folder / "train-images.gz").read_bytes() == wrong
    # So is one that gzip cannot unpack, and one that is cut off.
    for damaged in (wrong[:-3], b"", packed(CONTENTS["train-images.gz"])[:-1]):
        (folder / "train-images.gz").write_bytes(damaged)
        with pytest.raises(UserError, match=f"wrong hash.*found {depot.md5(damaged)}"):
            load(directory=str(folder))
        assert (folder / "train-images.gz").read_bytes() == damaged


def test_another_data_set_of_the_same_names_is_no_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = place(tmp_path / "here", level=1)
    strangers = [File(f.name, "0" * 32, f.plain) for f in FILES]
    monkeypatch.setattr(Tiny, "others", classmethod(lambda cls: strangers))
    wanted = File("train-images.gz", "1" * 32)
    monkeypatch.setattr(Tiny, "archive", Archive("tiny_set", (wanted, *FILES[1:]), (NOBODY,)))
    with pytest.raises(UserError, match=r"tiny_set: train-images.gz: none in .*here, .*and no download"):
        load(directory=str(folder))
    # MNIST and Fashion-MNIST are such a pair.
    assert {f.name for f in MNIST.others()} == {f.name for f in MNIST.archive.files}
    assert set(MNIST.others()) == set(FashionMNIST.archive.files)


# --- downloads ---


class Server:
    """An HTTP server of this process: path → what it answers; None breaks off half way."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | None] = {}
        self.asked: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append(self.path)
                answer = outer.files.get(self.path, b"")
                if self.path not in outer.files:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(1000 if answer is None else len(answer)))
                self.end_headers()
                self.wfile.write(answer or b"half of it")

            def log_message(self, *arguments: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that has the tiny archive under /good/, and nothing else."""
    made = Server()
    made.files = {f"/good/{name}": packed(content) for name, content in CONTENTS.items()}
    monkeypatch.setattr(Tiny, "archive", Archive("tiny_set", FILES, (made.url + "bad/", made.url + "good/")))
    yield made
    made.close()


def test_a_download_is_kept_and_not_repeated(server: Server, own_cache: Path) -> None:
    np.testing.assert_array_equal(load().train.inputs[:, 0], PIXELS[:4])
    kept = {p.name: p.read_bytes() for p in (own_cache / "tiny_set").iterdir()}
    assert kept == {name: packed(content) for name, content in CONTENTS.items()}
    # The first address has none of the files.
    assert server.asked[:2] == ["/bad/train-images.gz", "/good/train-images.gz"]
    asked = len(server.asked)
    assert load().attributes["source"] == str(own_cache / "tiny_set")
    assert len(server.asked) == asked == 8


@pytest.mark.parametrize("bad", [b"not what was asked for", b"", None])
def test_a_wrong_download_is_not_kept(bad: bytes | None, server: Server, own_cache: Path) -> None:
    server.files["/bad/train-images.gz"] = bad
    load()
    kept = own_cache / "tiny_set" / "train-images.gz"
    assert kept.read_bytes() == packed(CONTENTS["train-images.gz"])
    kept.unlink()
    server.files["/good/train-images.gz"] = bad
    with pytest.raises(UserError) as caught:
        load()
    if bad is not None:
        said = f"train-images.gz: wrong hash: expected md5 {FILES[0].packed}, found {depot.md5(bad)}"
        assert str(caught.value).count(said) == 2
    assert "\n" not in str(caught.value)
    assert sorted(p.name for p in kept.parent.iterdir()) == [
        "test-images.gz", "test-labels.gz", "train-labels.gz",
    ]  # fmt: skip


def test_a_damaged_download_in_the_cache_is_replaced(server: Server, own_cache: Path) -> None:
    load()
    kept = own_cache / "tiny_set" / "test-images.gz"
    kept.write_bytes(kept.read_bytes()[:-5])
    load()
    assert kept.read_bytes() == packed(CONTENTS["test-images.gz"])
    kept.write_bytes(b"damaged")
    server.files = {}
    with pytest.raises(UserError, match=r"none in .*tiny_set \(the one there is damaged\), and no download"):
        load()


def test_no_network_and_no_copy(own_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        load(directory=str(tmp_path / "empty"))
    said = str(caught.value)
    for words in (
        f"tiny_set: train-images.gz: none in {tmp_path}/empty/tiny_set, ",
        "no download (127.0.0.1: no connection)",
        f"put it at {own_cache}/tiny_set/train-images.gz",
        "data.directory or LANGEVIN_DATA",
    ):
        assert words in said
    assert "\n" not in said
    assert caught.value.exit_code == 2


def test_a_cache_that_cannot_be_written(server: Server, own_cache: Path) -> None:
    own_cache.write_text("a file where a folder should be")
    with pytest.raises(StorageError, match=r"cannot write .*train-images.gz: "):
        load()


def test_fetch_and_list(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.DATASETS, "tiny_set", "tiny_archive:Tiny")

    def command(*arguments: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, ["data", *map(str, arguments)])
        return done.exit_code, done.output

    (row,) = [line for line in command("list")[1].splitlines() if line.startswith("tiny_set ")]
    assert row.split() == ["tiny_set", "1", "×", "4", "×", "4", "3", "4", "2", "not", "here"]
    mine = tmp_path / "mine"
    expected = "".join(f"{mine}/tiny_set/{name}\n" for name in CONTENTS)
    assert command("fetch", "tiny_set", "--directory", mine) == (0, expected)
    asked = len(server.asked)
    assert command("fetch", "tiny_set", "--directory", mine) == (0, expected)
    assert len(server.asked) == asked
    monkeypatch.setenv(depot.VARIABLE, str(mine))
    assert f" {mine}/tiny_set\n" in command("list")[1].partition("tiny_set ")[2]
    assert command("fetch", "tiny_set") == (0, expected)
    # Labels tell apart what goes by the same names.
    labels = mine / "tiny_set" / "test-labels.gz"
    labels.write_bytes(b"other labels")
    assert "not here" in command("list")[1].partition("tiny_set ")[2].partition("\n")[0]
    code, said = command("fetch", "tiny_set", "--directory", mine)
    assert code == 2
    assert said.startswith(f"langevin: {labels}: wrong hash: expected md5 ")
    assert labels.read_bytes() == b"other labels"
    assert command("fetch", "synthetic")[0] == 2
    assert "nearest: 'tiny_set'" in command("fetch", "tiny_sett")[1]
    assert "directory (default: " in command("list", "mnist")[1]


def test_the_list_needs_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys; from langevin.commands.cli import main; main(['data', 'list'], standalone_mode=False); "
        "assert not {'torch', 'numba', 'xarray', 'matplotlib'} & set(sys.modules)"
    )
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    named = [line.split()[0] for line in done.stdout.splitlines()[1 : 1 + len(registry.DATASETS)]]
    assert named == sorted(registry.DATASETS)


# --- in a run ---


def run_file(**keys: Any) -> dict[str, Any]:
    return {
        "system": {"name": "learners:Linear"},
        "data": {"name": "tiny_archive:Tiny", **keys},
        "dynamics": {"temperature": 0.0, "dt": 0.05, "t_max": 0.5},
        "record": {"waiting_times": [0.0]},
        "output": {"figure": False},
    }


def test_a_run_says_where_its_data_come_from(tmp_path: Path) -> None:
    folder = place(tmp_path / "here")
    found = langevin.run(run_file(directory=str(folder), train=3, test=1))
    assert found.attrs["data"] == "tiny_archive:Tiny"
    assert found.attrs["data_source"] == str(folder)
    assert FILES[2].packed in found.attrs["data_hash"]
    assert (found.attrs["data_train_examples"], found.attrs["data_test_examples"]) == ("3", "1")
    energy = found["energy"].to_numpy()[0]
    assert energy[0] == pytest.approx(np.log(3), rel=1e-12)
    assert energy[-1] < energy[0]


def test_a_subset_changes_no_scale(tmp_path: Path) -> None:
    folder = str(place(tmp_path / "here"))
    whole, part = load(directory=folder), load(directory=folder, train=2)
    np.testing.assert_array_equal(whole.scale, part.scale)
    np.testing.assert_array_equal(whole.shift, part.shift)
    assert (len(whole.rows[0]), len(part.rows[0])) == (4, 2)
    assert float(whole.scaled(whole.train.inputs).std()) == pytest.approx(1, rel=1e-6)


@pytest.mark.parametrize(
    ("keys", "ensemble", "words"),
    [
        ({"train": 60_001}, {}, ["data.train = 60001: must be ≤ 60000, all of mnist"]),
        ({"test": 10_001}, {}, ["data.test = 10001: must be ≤ 10000, all of mnist"]),
        ({}, {"replicas": 4, "samples": 2}, ["ensemble.samples = 2: must be 1 with", "train < 60000"]),
        ({"train": 60_000}, {"replicas": 4, "samples": 2}, ["ensemble.samples = 2: must be 1"]),
        ({"scaling": "none"}, {}, ['data.scaling = "none"', '"standard", "unit"']),
        ({"noise": 1.0}, {}, ["data.noise: unknown key", "train, test, scaling, directory, name"]),
    ],
)  # fmt: skip
def test_faults_are_known_before_anything_is_loaded(
    keys: dict[str, Any], ensemble: dict[str, int], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        run_files.load({**run_file(**keys), "data": {"name": "mnist", **keys}, "ensemble": ensemble})
    (line,) = caught.value.faults
    for word in words:
        assert word in line


def test_samples_of_a_subset_are_welcome() -> None:
    given = {**run_file(), "data": {"name": "cifar10", "train": 1000}}
    assert run_files.load({**given, "ensemble": {"replicas": 4, "samples": 2}}).data.train == 1000
