"""Exactly once across `kill -9`: real processes, real sockets, every single number compared."""

import time
from contextlib import ExitStack

import numpy as np
import pytest
import zmq

from agent.record_log import FrameKind
from agent.transport import messages as m
from agent.transport.spool import Spool

_HEARTBEATS_S = 1.5  # One would fall due in this time.


def numbers_by_stream(log) -> dict[bytes, list[int]]:
    """The number every item says it has, in the order of storing; must be the number it is stored under."""
    numbers: dict[bytes, list[int]] = {}
    for frame in log.frames():
        if frame.kind is FrameKind.RECORDS:
            said = np.frombuffer(frame.payload, log.dtype)["step"].tolist()
        else:
            said = [m.decode_report(frame.payload)["number"]]
        assert said == list(range(frame.first_sequence, frame.end_sequence))
        numbers.setdefault(frame.stream, []).extend(said)
    return numbers


def read_until(process, line: str) -> None:
    for printed in process.stdout:
        if printed.strip() == line:
            return
    raise AssertionError(f"the process ended without saying {line!r}")


def test_actor_killed_again_and_again(serve, open_log, start, tmp_path):
    log = open_log()
    server = serve(record_log=log)
    arguments = "actor", server.address, "actor-0", tmp_path / "spool", 5000
    for kill_after in (400, 1500, 2900):
        process = start(*arguments)
        # One before that went further than it was to, until it was killed, leaves this one fewer to say.
        next(printed for printed in process.stdout if printed == "stored\n" or int(printed) >= kill_after)
        process.kill()
        process.wait()
    read_until(start(*arguments), "stored")
    assert list(numbers_by_stream(log).values()) == [list(range(5000))]
    taken = 0
    while (records := server.poll()) is not None:
        taken += len(records)
    assert taken == server.environment_steps == log.record_count == 4950
    assert [report["number"] for report in server.poll_reports()] == list(range(99, 5000, 100))


def test_learner_killed_again_and_again(open_log, start, tmp_path):
    learner = start("learner", "tcp://127.0.0.1:*", tmp_path / "replay.log")
    address = learner.stdout.readline().strip()
    actor = start("actor", address, "actor-0", tmp_path / "spool", 20000)
    for batches in (1, 4, 2):
        for _ in range(batches):
            assert learner.stdout.readline()
        learner.kill()
        learner.wait()
        learner = start("learner", address, tmp_path / "replay.log")
        assert learner.stdout.readline().strip() == address
    read_until(actor, "stored")
    learner.kill()
    learner.wait()
    assert list(numbers_by_stream(open_log()).values()) == [list(range(20000))]


def test_both_killed(open_log, start, tmp_path):
    learner = start("learner", "tcp://127.0.0.1:*", tmp_path / "replay.log")
    address = learner.stdout.readline().strip()
    arguments = "actor", address, "actor-0", tmp_path / "spool", 3000
    actor = start(*arguments)
    read_until(actor, "600")
    learner.kill()
    read_until(actor, "1200")
    actor.kill()
    for process in (learner, actor):
        process.wait()
    actor = start(*arguments)
    learner = start("learner", address, tmp_path / "replay.log")
    read_until(actor, "stored")
    learner.kill()
    learner.wait()
    assert list(numbers_by_stream(open_log()).values()) == [list(range(3000))]


def test_runs_in_turn_with_one_spool_whose_actors_are_killed(serve, open_log, start, tmp_path):
    streams = set()
    for run in range(3):
        log = open_log(tmp_path / f"{run}.log")
        server = serve(run_id=bytes([run]) * 16, record_log=log)
        for line in ("600", "stored"):
            process = start("guest", server.address, "actor-0", tmp_path / "spool", 1500)
            read_until(process, line)
            process.kill()
            process.wait()
        server.close()
        (stream,) = numbers = numbers_by_stream(log)
        assert numbers[stream] == list(range(1500))
        streams.add(stream)
    assert len(streams) == 3


def test_killed_on_the_way_from_run_to_run(start, tmp_path, spec):
    for hops in (2, 20, 50):
        process = start("hopper", tmp_path / "spool")
        for _ in range(hops):
            read_until(process, "hop")
        process.kill()
        process.wait()
        spool = Spool(tmp_path / "spool", spec.dtype)
        assert spool.acknowledged in (0, 3)
        assert spool.acknowledged <= spool.next_sequence <= 3
        first = spool.acknowledged
        while batch := spool.next_batch(first):  # A batch may end with its segment.
            first += batch.items
        assert first == spool.next_sequence
        spool.close()


def test_two_actors_at_once_keep_their_order(serve, open_log, start, tmp_path):
    log = open_log()
    server = serve(record_log=log)
    actors = [start("actor", server.address, f"actor-{i}", tmp_path / f"spool-{i}", 2000) for i in range(2)]
    for actor in actors:
        read_until(actor, "stored")
    assert list(numbers_by_stream(log).values()) == [list(range(2000))] * 2
    assert server.environment_steps == 2 * 1980


@pytest.mark.slow
def test_an_actor_whose_inbox_is_full_outlives_the_end_of_the_connection(serve, open_log, start, tmp_path):
    """With heartbeats of libzmq on, it would abort when the next one fell due."""
    log, gate = open_log(), tmp_path / "gate"
    server = serve(record_log=log)
    actor = start("held_actor", server.address, "actor-0", tmp_path / "spool", 300, gate)
    read_until(actor, "held")
    for updates in range(1000):  # Each is told to the actor, which cannot listen.
        server.set_progress(updates, 0)
        time.sleep(0.001)
    server.close()
    time.sleep(_HEARTBEATS_S)
    serve(server.address, record_log=log)
    gate.touch()
    read_until(actor, "stored")
    assert list(numbers_by_stream(log).values()) == [list(range(300))]


@pytest.mark.slow
def test_a_learner_whose_inbox_is_full_outlives_the_end_of_the_connection(
    join, open_log, rows, start, stranger, tmp_path
):
    gate = tmp_path / "gate"
    learner = start("held_learner", "tcp://127.0.0.1:*", tmp_path / "replay.log", gate)
    address = learner.stdout.readline().strip()
    client = join(address)
    client.send(rows(0, 1))
    read_until(learner, "held")
    talker = stranger(address)
    for _ in range(1000):
        talker.send(m.encode(m.Heartbeat()))
    time.sleep(_HEARTBEATS_S)
    talker.close()
    time.sleep(_HEARTBEATS_S)
    gate.touch()
    client.send(rows(1, 99))
    assert client.flush(20.0)
    assert learner.poll() is None
    learner.kill()
    learner.wait()
    assert list(numbers_by_stream(open_log()).values()) == [list(range(100))]


_WELL_KNOWN = 0x6B8B4567  # What C's rand() says first where nobody has seeded it.


def test_a_learner_outlives_who_takes_the_number_of_a_connection_to_come(start, join, rows, tmp_path):
    """libzmq numbers connections in a row, and aborts where the next number is taken."""
    learner = start("learner", "tcp://127.0.0.1:*", tmp_path / "replay.log")
    address = learner.stdout.readline().strip()
    with zmq.Context() as context, ExitStack() as stack:
        for number in range(_WELL_KNOWN, _WELL_KNOWN + 8):
            thief = stack.enter_context(context.socket(zmq.DEALER))
            thief.linger, thief.rcvtimeo = 0, 20_000
            thief.setsockopt(zmq.ROUTING_ID, b"\0" + number.to_bytes(4, "big"))
            thief.connect(address)
            thief.send(m.encode(m.Heartbeat()))
            assert m.decode_from_learner(thief.recv_multipart()) == (m.HelloWanted(), b"")
        client = join(address)
        client.send(rows(0, 5))
        assert client.flush(20.0)
        assert learner.poll() is None
