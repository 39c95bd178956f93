"""Claims: two processes, of one host or of two, never work on one file."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from langevin.errors import StorageError
from langevin.files import claims
from langevin.files.claims import Claim

#: Holds a claim until it is killed, or its input ends.
HOLDER = """
import sys
from pathlib import Path
from langevin.files.claims import Claim
claim = Claim(Path(sys.argv[1]))
assert claim.take(lambda: True)
print("mine", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "member-0000.claim"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT", 0.05)
    monkeypatch.setattr(claims, "STALE", 0.6)
    monkeypatch.setattr(claims, "SETTLE", 0.1)


def refuse(handle: int, how: int) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.fixture
def without_locks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims.fcntl, "flock", refuse)


def test_a_claim_is_held_by_one(path: Path) -> None:
    mine, other = Claim(path), Claim(path)
    assert mine.take(lambda: True) and mine.held
    assert not other.take(lambda: True)
    mine.release()
    assert not path.exists()
    assert other.take(lambda: True) and other.held and not mine.held
    # What is another one's is not given up.
    mine.release()
    assert other.held


def test_the_claim_of_a_process_that_is_killed_goes_to_the_next_at_once(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None and holder.stdout.readline() == b"mine\n"
    mine = Claim(path)
    assert not mine.take(lambda: True)
    holder.kill()
    holder.wait()
    assert path.exists()
    assert mine.take(lambda: True) and mine.held
    mine.release()


def of_another_host(path: Path, beat: int) -> None:
    path.write_text(json.dumps({"holder": "other", "host": "elsewhere", "beat": beat}))


def test_where_locks_end_at_the_host_a_claim_is_left_alone_as_long_as_it_beats(
    path: Path, quick: None
) -> None:
    """The holder on another host beats for 1.5 s, more than twice what makes it stale, and then no more."""
    of_another_host(path, 0)
    ended: list[float] = []

    def beat() -> None:
        for k in range(15):
            of_another_host(path, k)
            time.sleep(0.1)
        ended.append(time.monotonic())

    thread = threading.Thread(target=beat)
    thread.start()
    mine = Claim(path)
    assert mine.take(lambda: False)
    taken = time.monotonic()
    thread.join()
    # A look may have missed the last beat, not the one before.
    assert ended and taken >= ended[0] - 0.1 + claims.STALE - claims._LOOK
    assert mine.held


def test_where_locks_reach_other_hosts_a_free_one_says_that_its_holder_has_ended(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_another_host(path, 0)
    assert not Claim(path).take(lambda: True)
    monkeypatch.setattr(claims, "reach", lambda path: "hosts")
    assert Claim(path).take(lambda: True)


def test_without_locks_beats_alone_say_it(path: Path, quick: None, without_locks: None) -> None:
    mine, other = Claim(path), Claim(path)
    assert mine.take(lambda: True)
    assert not other.take(lambda: True)
    until = time.monotonic() + 2 * claims.STALE
    while time.monotonic() < until:
        assert mine.beat()
        assert not other.take(lambda: True)
        time.sleep(0.05)
    # It beats no more.
    assert other.take(lambda: False)
    assert other.held and not mine.held and not mine.beat()
    mine.release()
    assert other.held


def test_without_locks_two_that_claim_at_once_are_not_both_served(
    path: Path, quick: None, without_locks: None
) -> None:
    both = [Claim(path), Claim(path)]
    start = threading.Barrier(2)
    served: list[int] = []

    def take(k: int) -> None:
        start.wait()
        if both[k]._try():
            served.append(k)

    threads = [threading.Thread(target=take, args=(k,)) for k in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(served) == 1
    assert both[served[0]].held


def test_what_was_half_written_is_nobodys(path: Path) -> None:
    path.write_text('{"holder": "ot')
    assert Claim(path).take(lambda: True)


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(claims.StorageError, match=r"cannot claim .*No such file"):
        Claim(tmp_path / "gone" / "member-0000.claim").take(lambda: True)


MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
30 22 0:40 / /home rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2,local_lock=none,addr=10.0.0.1
31 22 0:41 / /old rw - nfs server:/old rw,vers=3,nolock,local_lock=all
32 22 0:42 / /scratch rw - lustre 10.0.0.2@tcp:/fs rw,flock,lazystatfs
33 22 0:43 / /project rw - lustre 10.0.0.2@tcp:/fs2 rw,localflock
34 22 0:44 / /with\\040blank rw - ceph 10.0.0.3:/ rw
35 30 0:45 / /home/tmp rw - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("/tmp/a", "host"),
        ("/home/me/a.nc", "hosts"),
        ("/homes/me", "host"),
        ("/home/tmp/a", "host"),
        ("/old/a", "host"),
        ("/scratch/a", "hosts"),
        ("/project/a", "host"),
        ("/with blank/a", "hosts"),
    ],
)
def test_how_far_locks_reach(place: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_mounts", lambda: MOUNTS.splitlines())
    monkeypatch.setattr(claims.os.path, "realpath", str)
    assert claims.reach(Path(place)) == expected


def test_hosts_are_told_apart() -> None:
    assert claims.host() == claims.host()
    assert os.uname().nodename in claims.host()


#: Claims, and beats until another process has taken over.
BEATING = """
import sys, time
from pathlib import Path
from langevin.files import claims
claims.BEAT = 0.05
claim = claims.Claim(Path(sys.argv[1]))
assert claim.take(lambda: True)
with claim.beating():
    print("mine", flush=True)
    time.sleep(60)
"""


def test_a_process_that_is_taken_over_from_ends_at_once(path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", BEATING, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None and holder.stdout.readline() == "mine\n"
    of_another_host(path, 7)
    _, errors = holder.communicate(timeout=30)
    assert holder.returncode == claims.LOST
    assert errors == f"langevin: {path} was taken over by another host\n"
    # The other's claim stands.
    assert json.loads(path.read_text())["holder"] == "other"


def full(handle: int, text: bytes, place: int) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_who_cannot_write_a_claim_leaves_it_to_others(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that lives on would keep the lock, and the member would never be carried out again."""
    first = Claim(path)
    with monkeypatch.context() as patched:
        patched.setattr(claims.os, "pwrite", full)
        with pytest.raises(StorageError, match=r"cannot claim .*: No space left on device"):
            first.take(lambda: True)
    assert Claim(path).take(lambda: True)


def test_a_claim_outlives_a_disk_that_is_full_for_a_while(
    path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Claim(path)
    assert mine.take(lambda: True)
    monkeypatch.setattr(claims.os, "pwrite", full)
    time.sleep(claims.BEAT)
    assert mine.beat()
    # As long as nobody else takes it for given up.
    time.sleep(claims.STALE / 2)
    assert not mine.beat()


def test_the_names_of_mounts_are_read_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    line = "36 35 0:42 / /übung\\040a rw,relatime shared:1 - nfs4 server:/home rw,vers=4.2"
    monkeypatch.setattr(claims, "_mounts", lambda: ["1 0 0:1 / / rw - ext4 /dev/sda rw", line])
    assert claims.reach(Path("/übung a/file")) == "hosts"
