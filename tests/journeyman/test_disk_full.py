"""What a full disk does to those who watch a run, and to what is printed."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import pytest

from journeyman.disk_watch import DiskWatch

PRINTS = """
import resource, sys
from journeyman.process import never_fail_to_print
never_fail_to_print()
print("before")
resource.setrlimit(resource.RLIMIT_FSIZE, (30, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
for _ in range(100):
    print("a line that does not fit", flush=True)
    print("nor this one", file=sys.stderr, flush=True)
sys.exit(7)
"""


@pytest.mark.parametrize("separate", [False, True])
def test_a_log_on_a_full_disk_ends_nobody(tmp_path, separate):
    with (tmp_path / "out").open("ab") as out, (tmp_path / "err").open("ab") as err:
        done = subprocess.run(
            [sys.executable, "-c", PRINTS], stdout=out, stderr=err if separate else out, check=False
        )
    assert done.returncode == 7
    assert (tmp_path / "out").read_text().startswith("before\na line that does not")


LOGS = """
import sys
from pathlib import Path
from journeyman.run_log import for_people, run_log
with run_log(Path(sys.argv[1]), "train"):
    for _ in range(10):
        print("said", flush=True)
        print("drawn", file=for_people(sys.stdout), flush=True)
        print("x" * 10_000)
        print("told", file=sys.stderr)
sys.exit(7)
"""


def full_disk():
    return os.open("/dev/full", os.O_WRONLY)


def reader_that_went_away():
    reading, writing = os.pipe()
    os.close(reading)
    return writing


@pytest.mark.parametrize("make", [full_disk, reader_that_went_away])
def test_what_cannot_be_printed_is_logged_and_changes_neither_course_nor_exit_code(tmp_path, make):
    out = make()
    done = subprocess.run([sys.executable, "-c", LOGS, tmp_path], stdout=out, stderr=out, check=False)
    os.close(out)
    assert done.returncode == 7
    logged = [json.loads(line)["message"] for line in (tmp_path / "train.jsonl").read_text().splitlines()]
    assert logged == ["train begins.", *["said", "x" * 10_000, "told"] * 10]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_where_all_can_be_printed_a_terminal_stays_a_terminal_and_text_as_it_was(encoding):
    reading, terminal = os.openpty()
    ask = "from journeyman.process import never_fail_to_print as f; f(); print(__import__('sys').stdout.isatty(), 'ü')"
    subprocess.run(
        [sys.executable, "-c", ask],
        stdout=terminal,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        check=True,
    )
    assert os.read(reading, 100) == "True ü\r\n".encode(encoding)
    os.close(terminal)
    os.close(reading)


def test_a_disk_that_fills_up_is_told_once_and_so_is_its_room(tmp_path, monkeypatch):
    now_s, disk = 0.0, SimpleNamespace(f_flag=0, f_bavail=10**9, f_frsize=1)
    monkeypatch.setattr("time.monotonic", lambda: now_s)
    monkeypatch.setattr(os, "statvfs", lambda _: disk)
    watch, said = DiskWatch(tmp_path, 10**8), []
    for free, flag in (
        (10**9, 0), (10**7, 0), (10**6, 0), (1.1e8, 0), (10**9, os.ST_RDONLY), (10**9, 0), (10**9, os.ST_RDONLY),
    ):  # fmt: skip
        disk.f_bavail, disk.f_flag = free, flag
        now_s += 10.0
        said.append(watch.news())
        assert watch.news() is None, "it does not look all the time"
    full, over, read_only = (text for text in said if text)
    assert [text is not None for text in said] == [False, True, False, False, False, True, True]
    assert "has less than 100 MB left: where it takes nothing more, the robot is parked" in full
    assert over == f"The disk of {tmp_path} takes everything again."
    assert "is read-only" in read_only
    disk.f_bavail, disk.f_flag = 10**7, 0
    assert "has less than 10 MB left" in DiskWatch(tmp_path, 0).news()


def test_a_disk_that_is_gone_is_told(tmp_path):
    assert "cannot be read (No such file" in DiskWatch(tmp_path / "gone", 0).news()
