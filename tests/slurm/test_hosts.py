"""Members in workers on other hosts: what crosses the network, and what a host does not see."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest
from hosts import Host, NoHosts, environment, hosts
from same_bits import differences
from slurm_campaign import write_sweep

pytestmark = pytest.mark.slow

#: Seconds after which something that should happen has not.
PATIENCE = 60.0
MEMBERS = 4


@pytest.fixture
def network() -> Iterator[tuple[Host, Host, Host]]:
    with ExitStack() as stack:
        try:
            found = stack.enter_context(hosts("login", "node1", "node2"))
        except NoHosts as error:
            pytest.skip(str(error))
        yield found[0], found[1], found[2]


def test_hosts_have_names_and_folders_of_their_own(network: tuple[Host, Host, Host], tmp_path: Path) -> None:
    (tmp_path / "here").touch()
    look = "import os, socket, sys; print(socket.gethostname(), os.listdir(sys.argv[1]))"
    said = []
    for host, hidden in zip(network, ([], [tmp_path], []), strict=True):
        command = host.command(sys.executable, "-c", look, str(tmp_path), hidden=hidden)
        said.append(subprocess.check_output(command, text=True).strip())
    assert said == ["login ['here']", "node1 []", "node2 ['here']"]
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


SERVE = """
import socket
connection, _ = socket.create_server(("", 5000)).accept()
print(sum(map(len, iter(lambda: connection.recv(65536), b""))))
"""
SEND = "import socket, sys; socket.create_connection((sys.argv[1], 5000), timeout=5).sendall(bytes(10**6))"


def test_what_crosses_the_network_is_counted(network: tuple[Host, Host, Host]) -> None:
    login, node, other = network
    with login.start(sys.executable, "-c", SERVE, stdout=subprocess.PIPE) as server:
        time.sleep(1)
        subprocess.run(node.command(sys.executable, "-c", SEND, login.address), check=True)
        assert server.communicate(timeout=PATIENCE)[0].strip() == "1000000"
    received, sent = login.traffic()
    # A megabyte, and the headers of its packets.
    assert 1_000_000 < received < 1_200_000 and sent < 100_000
    assert sum(other.traffic()) < 10_000
    node.cut()
    with pytest.raises(subprocess.CalledProcessError):
        subprocess.run(
            node.command(sys.executable, "-c", SEND, login.address), check=True, stderr=subprocess.DEVNULL
        )


def needs_dask() -> None:
    pytest.importorskip("distributed")
    help_ = subprocess.run(
        [sys.executable, "-P", "-m", "langevin", "run", "--help"], capture_output=True, text=True, check=True
    )
    if "--scheduler" not in help_.stdout:
        pytest.skip("langevin run has no --scheduler")


@contextmanager
def daemons(network: tuple[Host, Host, Host], folder: Path, hidden: list[Path]) -> Iterator[str]:
    """Start a scheduler on the first host and a worker on each other; yield the address of the scheduler."""
    login, *nodes = network
    address = f"tcp://{login.address}:8786"
    scheduler = ["distributed.cli.dask_scheduler", "--host", login.address, "--no-dashboard"]
    worker = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    commands = [(login, scheduler, [])]
    commands += [
        (node, [*worker, "--host", node.address, "--local-directory", f"/tmp/dask-{node.name}"], hidden)
        for node in nodes
    ]
    processes = []
    with (folder / "daemons.log").open("a") as log:
        for host, words, unseen in commands:
            processes.append(
                host.start(
                    *(sys.executable, "-P", "-m", *words),
                    hidden=unseen,
                    env=environment(),
                    stdout=log,
                    stderr=log,
                )
            )
        try:
            yield address
        finally:
            for process in reversed(processes):
                process.terminate()
                process.wait(PATIENCE)


def run(host: Host, sweep: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = host.command(sys.executable, "-m", "langevin", "run", sweep.name, "--quiet", *arguments)
    return subprocess.run(
        command, cwd=sweep.parent, env=environment(), capture_output=True, text=True, timeout=180, check=False
    )


def test_members_on_other_hosts(
    network: tuple[Host, Host, Host], tmp_path: Path, record_property: pytest.RecordProperty
) -> None:
    needs_dask()
    sweep, result = write_sweep(tmp_path / "sweep", MEMBERS, 20.0)
    path, whole = write_sweep(tmp_path / "whole", MEMBERS, 20.0)
    assert run(network[0], path, "--threads", "1").returncode == 0
    with daemons(network, tmp_path, []) as address:
        time.sleep(5)
        before = [host.traffic() for host in network]
        done = run(network[0], sweep, "--executor", "dask", "--scheduler", address)
        after = [host.traffic() for host in network]
    assert done.returncode == 0, done.stderr
    assert differences(result, whole) == []
    crossed = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]
    said = (
        f"network, {MEMBERS} members: bytes received and sent by login, node1, node2: {json.dumps(crossed)}"
    )
    record_property("campaign", said)
    # Jobs, outcomes and progress; no results.
    assert sum(crossed[0]) < MEMBERS * 200_000 + 500_000


def test_a_folder_that_workers_do_not_see(network: tuple[Host, Host, Host], tmp_path: Path) -> None:
    needs_dask()
    sweep, result = write_sweep(tmp_path / "sweep", MEMBERS, 20.0)
    with daemons(network, tmp_path, [sweep.parent]) as address:
        time.sleep(5)
        done = run(network[0], sweep, "--executor", "dask", "--scheduler", address)
    assert done.returncode == 2, done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert f"does not see {result.with_suffix('.sweep')}" in done.stderr
    # Nothing is lost: with workers that see it, it goes on.
    with daemons(network, tmp_path, []) as address:
        time.sleep(5)
        done = run(network[0], sweep, "--executor", "dask", "--scheduler", address, "--resume")
    assert done.returncode == 0, done.stderr


def test_a_cable_that_is_pulled(network: tuple[Host, Host, Host], tmp_path: Path) -> None:
    """A host goes on computing that nobody hears: its member waits until it has left it, and is not torn."""
    needs_dask()
    sweep, result = write_sweep(tmp_path / "sweep", 2, 2500.0)
    path, whole = write_sweep(tmp_path / "whole", 2, 2500.0)
    assert run(network[0], path, "--threads", "2").returncode == 0
    held: list[str] = []
    with daemons(network, tmp_path, []) as address:
        time.sleep(5)
        command = network[0].command(
            *(sys.executable, "-m", "langevin", "run", sweep.name, "--quiet"),
            *("--executor", "dask", "--scheduler", address),
        )
        with subprocess.Popen(command, cwd=sweep.parent, env=environment()) as client:
            while client.poll() is None:
                time.sleep(0.2)
                for claim in result.with_suffix(".sweep").glob("*.claim"):
                    with suppress(OSError):
                        held.append(f"{claim.stem} {'node1' if 'node1' in claim.read_text() else 'node2'}")
                if [*result.with_suffix(".sweep").glob("member-*.checkpoint.nc")]:
                    network[1].cut()
            assert client.returncode == 0
    moved = {one.split()[0] for one in held if "node1" in one}
    assert len(moved) == 1
    assert f"{moved.pop()} node2" in held
    assert differences(result, whole) == []
