"""What was found wrong with the transports of others, one test each; docs/faults.md has the whole list."""

import shutil
import signal

import msgspec
import numpy as np
import pytest

from agent.config import InputError
from agent.record_log import FrameKind
from agent.transport import messages as m


@pytest.fixture
def stored():
    """Numbers of the records of each stream, in the order of storing; a record must bear the number it is under."""

    def numbers(log) -> list[list[int]]:
        streams: dict[bytes, list[int]] = {}
        for frame in log.frames():
            own = streams.setdefault(frame.stream, [])
            assert frame.first_sequence == len(own)
            if frame.kind is FrameKind.RECORDS:
                own += np.frombuffer(frame.payload, log.dtype)["step"].tolist()
            else:
                own.append(m.decode_report(frame.payload)["number"])
        return list(streams.values())

    return numbers


@pytest.fixture
def hello_of(spec):
    def make(actor: str) -> m.Hello:
        task = {"name": "lift_cube", "control_rate_hz": "20"}
        return m.Hello(m.PROTOCOL_VERSION, actor, b"x" * 16, spec.description(), task, 0, 0)

    return make


def test_a_malformed_message_does_not_kill_the_receive_thread(serve, join, stranger, rows, take):
    server = serve()
    client = join(server.address)
    client.wait_welcome(20.0)
    for frames in ([b""], [b"\x80\x04K*."], [b"junk", b"more"], [m.encode(m.Heartbeat()), b"payload"]):
        stranger(server.address).send_multipart(frames)
    client.send(rows(0, 5))
    assert take(server, 5) == list(range(5))
    server.raise_if_dead()


def test_nothing_of_a_restarted_actor_is_dropped_not_even_without_its_spool(
    serve, open_log, join, rows, stored, tmp_path
):
    """A peer's begins again at number 0, and the learner takes all of it for known."""
    log = open_log()
    server = serve(record_log=log)
    for keeps_spool in (True, True, False):
        client = join(server.address)
        first = client.next_sequence
        client.send(rows(first, 100))
        assert client.flush(20.0)
        client.close()
        if not keeps_spool:
            shutil.rmtree(tmp_path / "spools" / "actor-0")
            client = join(server.address)
            client.send(rows(0, 100))
            assert client.flush(20.0)
    assert stored(log) == [list(range(300)), list(range(100))]
    assert server.environment_steps == 400


def test_of_two_actors_under_one_name_the_second_is_told_and_both_are_stored(
    serve, open_log, join, rows, stored
):
    log = open_log()
    server = serve(record_log=log)
    first, second = join(server.address), join(server.address, spool="another")
    first.wait_welcome(20.0)
    second.send(rows(0, 10))
    with pytest.raises(
        InputError, match="Another actor named 'actor-0' is connected; give this one another name"
    ):
        second.wait_welcome(1.0)
    first.send(rows(0, 20))
    assert first.flush(20.0)
    first.close()
    assert second.flush(20.0)
    assert stored(log) == [list(range(20)), list(range(10))]


def test_of_two_actors_with_one_spool_one_is_told_and_nothing_is_taken_for_the_others(
    serve, open_log, join, rows, stored, wait_until, tmp_path
):
    """A copied folder numbers other items alike: what one hands over would pass for what the other did."""
    log = open_log()
    server = serve(record_log=log)
    first = join(server.address)
    first.send(rows(0, 10))
    assert first.flush(20.0)
    shutil.copytree(tmp_path / "spools" / "actor-0", tmp_path / "spools" / "copy")
    second = join(server.address, spool="copy")
    second.wait_welcome(20.0)
    second.send(rows(10, 10))
    assert second.flush(20.0)
    first.send(rows(10, 10))
    wait_until(lambda: first.refusal is not None)
    assert first.refusal.startswith("Another process sends this very spool")
    second.send(rows(20, 10))
    assert second.flush(20.0)
    assert not first.flush(1.0)
    assert second.refusal is None
    assert stored(log) == [list(range(30))]


def test_an_actor_that_is_started_again_takes_its_own_place_at_once(
    serve, join, stranger, hello_of, wait_until
):
    """Also before the learner knows that the one before is gone, and whatever of that one is still on its way."""
    server = serve()
    processes = [bytes([number]) * 16 for number in range(40)]
    for process in processes:
        socket = stranger(server.address)
        socket.send(m.encode(msgspec.structs.replace(hello_of("a"), process=process)))
        assert isinstance(m.decode_from_learner(socket.recv_multipart())[0], m.Welcome)
    late = stranger(server.address)
    late.send(m.encode(msgspec.structs.replace(hello_of("a"), process=processes[-2])))
    refused, _ = m.decode_from_learner(late.recv_multipart())
    assert refused.temporary
    socket.send(m.encode(m.Heartbeat()))
    assert isinstance(m.decode_from_learner(socket.recv_multipart())[0], m.Acknowledge)
    [peer] = server._peers.values()
    assert len(peer.displaced) < 20
    socket.send(m.encode(m.Goodbye()))
    wait_until(lambda: server.actors() == [])
    late.send(m.encode(msgspec.structs.replace(hello_of("a"), process=processes[-2])))
    assert isinstance(m.decode_from_learner(late.recv_multipart())[0], m.Welcome)


def test_a_late_joiner_waits_for_weights_and_gets_them_at_once(serve, join, until):
    server = serve()
    early = join(server.address, "early")
    early.wait_welcome(20.0)
    assert early.latest_weights() is None
    server.publish(7, b"weights")
    late = join(server.address, "late")
    for client in (early, late):
        until(client, lambda client=client: client.latest_weights() == (7, b"weights"))


def test_a_slow_actor_is_never_more_than_one_publish_behind(serve, stranger, hello_of):
    """While it reads nothing at most one set of weights is on its way, and the next that it gets is the newest."""
    server = serve()
    socket = stranger(server.address)

    def hear() -> m.FromLearner:
        return m.decode_from_learner(socket.recv_multipart())[0]

    socket.send(m.encode(hello_of("slow")))
    socket.send(m.encode(m.WeightsRequest(-1)))
    published = 0
    for _ in range(5):
        for _ in range(100):
            server.publish(published, bytes(100_000))
            published += 1
        heard: list[int] = []
        for _ in range(
            3
        ):  # Answered by one that has heard of all publications, and behind all that was on its way.
            socket.send(m.encode(m.Heartbeat()))
            while not isinstance(message := hear(), m.Acknowledge):
                heard += [message.version] if isinstance(message, m.Weights) else []
        assert len(heard) <= 1
        while heard[-1:] != [published - 1]:
            assert len(heard) < 2
            if heard:
                socket.send(m.encode(m.WeightsRequest(heard[-1])))
            while not isinstance(message := hear(), m.Weights):
                pass
            heard.append(message.version)
        socket.send(m.encode(m.WeightsRequest(published - 1)))


def test_a_restart_of_the_learner_is_noticed_and_everything_arrives(
    serve, open_log, join, rows, stored, wait_until
):
    log = open_log()
    first = serve(record_log=log)
    client = join(first.address)
    client.send(rows(0, 100))
    assert client.flush(20.0)
    first.close()
    client.send(rows(100, 100))
    second = serve(first.address, record_log=log)
    second.publish(1, b"anew")
    assert client.flush(20.0)
    wait_until(lambda: client.latest_weights() == (1, b"anew"))
    assert stored(log) == [list(range(200))]


def test_a_frozen_actor_frees_its_place_and_rejoins_when_it_wakes(
    serve, open_log, join, start, rows, stored, wait_until, tmp_path, caplog
):
    """Another takes its name, unknown to the learner; meanwhile the first is refused, and keeps what it has."""
    log = open_log()
    server = serve(record_log=log, lease_s=1.0)
    frozen = start("guest", server.address, "actor-0", tmp_path / "spool", 1500)
    for line in frozen.stdout:
        if line.strip() == "600":
            break
    frozen.send_signal(signal.SIGSTOP)
    wait_until(lambda: not server.actors())
    with pytest.raises(InputError, match="in use by another process"):
        join(server.address, spool="../spool")
    replacement = join(server.address)
    replacement.wait_welcome(20.0)
    replacement.send(rows(0, 100))
    assert replacement.flush(20.0)
    frozen.send_signal(signal.SIGCONT)
    wait_until(lambda: any("Refused actor 'actor-0'" in message for message in caplog.messages))
    replacement.send(rows(100, 200))
    assert replacement.flush(20.0)
    assert server.actors() == ["actor-0"]
    replacement.close()
    for line in frozen.stdout:
        if line.strip() == "stored":
            break
    assert sorted(stored(log), key=len) == [list(range(300)), list(range(1500))]
