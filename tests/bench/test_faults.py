"""bench/faults.py: that it would see what it looks for, that its network obeys, and a short run of it."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from agent.record_log import FrameKind, RecordLog
from agent.transition import TransitionSpec
from agent.transport.spool import Spool
from bench import faults
from bench.fault_evidence import count, deadlines

ROOT = Path(__file__).parents[2]
STREAM = b"s" * 16
SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))


def some_records(episode, steps):
    records = np.zeros(len(steps), SPEC.dtype)
    records["episode"], records["step"] = episode, steps
    return records


@pytest.fixture
def log(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", SPEC.dtype)
    yield log
    log.close()


def report(episode, steps, **values):
    return {"kind": "episode", "actor": "a", "episode": episode, "steps": steps, **values}


def test_what_is_whole_and_in_order_is_counted_and_nothing_else(log):
    log.append(some_records(0, range(4)), STREAM)
    log.append_raw(FrameKind.REPORT, b"\x80", 1, STREAM)
    log.append(some_records(5, range(3)), STREAM)
    assert count(log, [], [report(0, 4)]) == (7, 0, 0, 0, 1)


def test_items_and_steps_that_are_missing_are_lost(log):
    log.append(some_records(0, range(2)), STREAM, 0)
    log.append(some_records(0, range(3, 5)), STREAM, 3)
    assert count(log, [], []).lost == 2  # By its number, and by its step.


def test_a_step_that_is_missing_under_whole_numbers_is_lost(log):
    log.append(some_records(0, [0, 2]), STREAM)
    assert count(log, [], []).lost == 1


def test_an_episode_that_was_longer_than_what_is_stored_is_lost(log):
    log.append(some_records(0, range(4)), STREAM)
    assert count(log, [], [report(0, 5)]) == (4, 5, 0, 0, 0)


def test_what_an_actor_still_has_is_lost(log, tmp_path):
    spool = Spool(tmp_path / "spool", SPEC.dtype)
    spool.append(some_records(0, range(3)))
    spool.close()
    assert count(log, [tmp_path / "spool"], []).lost == 3


def test_items_and_steps_that_come_twice_are_doubled(log):
    log.append(some_records(0, range(2)), STREAM, 0)
    log.append(some_records(0, range(1, 3)), STREAM, 1)
    assert count(log, [], []).doubled == 2


def test_an_item_before_an_earlier_one_is_out_of_order(log):
    log.append(some_records(0, [1]), STREAM, 1)
    log.append(some_records(0, [0]), STREAM, 0)
    assert count(log, [], []).disordered == 1


def test_missed_deadlines_are_those_of_all_processes_of_the_actor():
    def entry(ticks, missed, latest_s, actor="a"):
        return report(0, 1, ticks=ticks, missed_deadlines=missed, worst_lateness_s=latest_s) | {
            "actor": actor
        }

    journal = [
        entry(10, 1, 0.2),
        entry(20, 2, 0.3),
        entry(5, 1, 0.1),
        entry(9, 9, 9.0, "another"),
        {"kind": "learner"},
    ]
    assert deadlines(journal, "a") == (25, 3, 0.3)


class Echo:
    """Answers what it is told; a port of this machine."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            connection, _ = self.socket.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection):
        with connection:
            while chunk := connection.recv(1024):
                connection.sendall(chunk)


class RelayProcess:
    """The relay before an `Echo`."""

    def __init__(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.fault_relay", f"127.0.0.1:{self.port}", f"127.0.0.1:{Echo().port}"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == line + "\n"

    def call(self):
        connection = socket.create_connection(("127.0.0.1", self.port))
        connection.settimeout(30.0)
        return connection


def is_over(connection):
    """Whether the other side has ended it, politely or not."""
    try:
        return connection.recv(10) == b""
    except ConnectionResetError:
        return True


@pytest.fixture
def relay():
    relay = RelayProcess()
    yield relay
    relay.process.kill()
    relay.process.wait()


def test_the_relay_forwards_and_delays(relay):
    with relay.call() as connection:
        connection.sendall(b"now")
        assert connection.recv(10) == b"now"
        relay.tell("delay 0.3")
        began_s = time.monotonic()
        connection.sendall(b"later")
        assert connection.recv(10) == b"later"
        assert time.monotonic() - began_s > 0.59


def test_what_hangs_in_the_relay_arrives_when_it_opens(relay):
    with relay.call() as connection:
        relay.tell("hang")
        connection.sendall(b"patience")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        relay.tell("open")
        connection.settimeout(30.0)
        assert connection.recv(10) == b"patience"


def test_a_cut_ends_connections_and_refuses_new_ones_until_it_is_open(relay):
    with relay.call() as connection:
        connection.sendall(b"a")
        assert connection.recv(10) == b"a"
        relay.tell("cut")
        assert is_over(connection)
    with relay.call() as connection:
        assert is_over(connection)
    relay.tell("open")
    with relay.call() as connection:
        connection.sendall(b"b")
        assert connection.recv(10) == b"b"


@pytest.mark.slow
def test_a_few_faults_lose_nothing(tmp_path, monkeypatch, capsys):
    # The machine may be too busy for deadlines, which are not judged here.
    monkeypatch.setattr(faults, "deadlines", lambda *_: (0, 0, 0.0))
    words = [
        "--faults",
        "3",
        "--kinds",
        "kill",
        "cut",
        "--no-ros",
        "--plain",
        "--folder",
        str(tmp_path / "faults"),
    ]
    monkeypatch.setattr(sys, "argv", ["faults", *words])
    assert faults.main() == 0
    said = capsys.readouterr().out
    assert "0 lost, 0 doubled, 0 out of order" in said
