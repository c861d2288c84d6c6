"""The wall clock may be set while a run goes on, an hour back or a day ahead: only what is shown may depend on it."""

import ast
import itertools
import time
from pathlib import Path

import numpy as np
import pytest

import agent
from agent.journal import Journal, JournalReader
from agent.record_log import RecordLog
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer

WALL = {"time", "time_ns", "localtime", "gmtime", "strftime", "ctime", "asctime"}


def wall_clock_uses(source: str) -> list[str]:
    """Names by which a module reads the wall clock."""
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in WALL:
                found.append(f"time.{name}")
            case ast.Import(names=names):
                renamed = {alias.name for alias in names if alias.asname}
                found += [alias.name for alias in names if alias.name == "datetime"] + sorted(
                    renamed & {"time"}
                )
            case ast.ImportFrom(module="datetime", names=names):
                found += [
                    "datetime" for alias in names if alias.name != "timedelta"
                ]  # Which is no time of day.
            case ast.ImportFrom(module="time", names=names):
                found += [f"time.{alias.name}" for alias in names if alias.name in WALL]
    return found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("import time\ntime.monotonic()", 0),
        ("import time\ntime.time()", 1),
        ("from time import time_ns", 1),
        ("import datetime", 1),
        ("from datetime import datetime", 1),
        ("from datetime import timedelta", 0),
        ("import time as t", 1),
    ],
)
def test_what_reads_the_wall_clock_is_found(source, count):
    assert len(wall_clock_uses(source)) == count


def test_only_the_journal_reads_the_wall_clock_to_show_it():
    folder = Path(agent.__file__).parent
    uses = {
        str(path.relative_to(folder)): found
        for path in folder.rglob("*.py")
        if (found := wall_clock_uses(path.read_text()))
    }
    assert uses == {"journal.py": ["time.time"]}


def test_a_clock_that_is_set_again_and_again_costs_nothing(spec, tmp_path, monkeypatch):
    """Every reading differs by hours, back and forth; contact, lease and delivery go on by monotonic time."""
    real, steps = time.time(), itertools.cycle((0.0, -3600.0, 86_400.0, -1e9, 1e9))
    monkeypatch.setattr(time, "time", lambda: real + next(steps))
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * (real + next(steps))))
    log = RecordLog.open(tmp_path / "replay.log", spec.dtype)
    server = LearnerServer("tcp://127.0.0.1:*", spec, {}, record_log=log)
    client = ActorClient(server.address, "actor-0", spec, {}, tmp_path / "spool")
    journal = Journal(tmp_path / "journal.jsonl")
    rows = np.zeros(300, spec.dtype)
    rows["step"] = np.arange(300)
    for row in np.split(rows, 300):
        client.send(row)
    assert client.flush(20.0)
    for _ in range(12):  # A second and more, so that there are heartbeats.
        journal.write("learner", {"actors": server.actors()})
        assert client.connected
        assert client.seconds_since_contact < 20.0
        client.wait(0.1)
    for part in (client, server, log, journal):
        part.close()
    log = RecordLog.open(tmp_path / "replay.log", spec.dtype)
    assert [int(step) for records in log.records() for step in records["step"]] == list(range(300))
    log.close()
    entries = JournalReader(tmp_path / "journal.jsonl").new()
    assert all(entry["actors"] == ["actor-0"] for entry in entries)
    stamps = [entry["time"] for entry in entries]
    assert stamps != sorted(stamps)
