"""The learner's side, among actors that behave and strangers that do not."""

import ctypes
import threading
import time

import numpy as np
import pytest
import zmq
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import InputError
from agent.transport import messages as m

STREAM = b"x" * 16


def say(socket: zmq.Socket, message: m.Message, *payload: bytes) -> None:
    socket.send_multipart([m.encode(message), *payload])


def hear(socket: zmq.Socket, kind: type) -> m.Message:
    """The next message of this type; others are passed over."""
    while True:
        message, _ = m.decode_from_learner(socket.recv_multipart())
        if isinstance(message, kind):
            return message


@pytest.fixture
def hello(spec):
    def make(actor: str = "stranger", stream: bytes = STREAM, **fields) -> m.Hello:
        usual = {
            "protocol_version": m.PROTOCOL_VERSION,
            "actor": actor,
            "stream": stream,
            "spec": spec.description(),
            "task": {"name": "lift_cube", "control_rate_hz": "20"},
            "oldest_sequence": 0,
            "sent_below": 0,
        }
        return m.Hello(**{**usual, **fields})

    return make


def test_order_and_numbers_of_a_stream(serve, stranger, hello, rows, take):
    server = serve()
    socket = stranger(server.address)
    say(socket, hello())
    assert hear(socket, m.Welcome).next_sequence == 0
    for first, count, expected in [(0, 3, 3), (0, 3, 3), (1, 4, 5), (4, 2, 6)]:
        say(socket, m.Transitions(STREAM, first, count), rows(first, count).tobytes())
        assert hear(socket, m.Acknowledge).next_sequence == expected
    say(socket, m.Transitions(STREAM, 8, 1), rows(8, 1).tobytes())
    assert hear(socket, m.Resend).next_sequence == 6
    say(socket, m.Transitions(STREAM, 6, 3), rows(6, 3).tobytes())
    assert hear(socket, m.Acknowledge).next_sequence == 9
    assert take(server, 9) == list(range(9))
    assert server.environment_steps == 9


def test_nothing_is_stored_before_the_handshake(serve, stranger, hello, rows):
    server = serve()
    socket = stranger(server.address)
    say(socket, m.Transitions(STREAM, 0, 1), rows(0, 1).tobytes())
    hear(socket, m.HelloWanted)
    say(socket, hello())
    assert hear(socket, m.Welcome).next_sequence == 0
    assert server.poll() is None


def test_no_one_can_write_into_the_stream_of_another(serve, stranger, hello, rows, take):
    server = serve()
    socket = stranger(server.address)
    say(socket, hello())
    hear(socket, m.Welcome)
    say(socket, m.Transitions(b"y" * 16, 0, 1), rows(7, 1).tobytes())
    say(socket, m.Transitions(STREAM, 0, 1), rows(0, 1).tobytes())
    assert take(server, 1) == [0]
    assert server.malformed_messages == 1


sizes = st.integers(0, 300)
nonsense = st.one_of(
    st.lists(st.binary(max_size=100), min_size=1, max_size=4),
    st.builds(
        lambda first, count, size: [m.encode(m.Transitions(STREAM, first, count)), bytes(size)],
        st.integers(0, 10),
        st.integers(1, 2**31 - 1),
        sizes.filter(lambda size: size % 10 == 1),  # never whole records
    ),
    st.builds(lambda junk: [m.encode(m.EpisodeReport(STREAM, 0)), b"\xc1" + junk], st.binary(max_size=50)),
    st.builds(
        lambda junk: [m.encode(m.Hello(1, "a", STREAM, {}, {}, 0, 0))[:-3] + junk], st.binary(max_size=5)
    ),
)


def test_nonsense_is_dropped_and_storing_goes_on(serve, open_log, stranger, join, hello, rows, take):
    log = open_log()
    server = serve(record_log=log)
    client = join(server.address)
    client.wait_welcome(20.0)
    known, unknown = stranger(server.address), stranger(server.address)
    sent = 0

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(st.booleans(), nonsense), max_size=5))
    def check(messages):
        nonlocal sent
        say(known, hello())
        hear(known, m.Welcome)
        for welcomed, frames in messages:
            (known if welcomed else unknown).send_multipart(frames)
        say(known, hello())
        hear(known, m.Welcome)
        client.send(rows(sent, 1))
        sent += 1
        assert take(server, 1) == [sent - 1]

    check()
    assert server.malformed_messages > 100
    assert [int(r["step"][0]) for r in log.records()] == list(range(sent))


def test_too_large_a_message_is_not_even_received(serve, stranger, join, rows, take):
    server = serve()
    client = join(server.address)
    client.wait_welcome(20.0)
    stranger(server.address).send(bytes(2 * m.BATCH_BYTES))
    client.send(rows(0, 5))
    assert take(server, 5) == list(range(5))
    assert server.malformed_messages == 0


def test_second_actor_of_a_name_waits_until_the_first_is_gone(serve, join):
    server = serve()
    first = join(server.address, "actor-0", spool="one")
    first.wait_welcome(20.0)
    second = join(server.address, "actor-0", spool="two")
    with pytest.raises(InputError, match="Another actor named 'actor-0' is connected; give this one another"):
        second.wait_welcome(0.5)
    assert first.connected
    assert server.actors() == ["actor-0"]
    first.close()
    second.wait_welcome(20.0)


def test_name_of_an_actor_that_fell_silent_is_free_after_its_lease(serve, stranger, hello, join):
    server = serve(lease_s=0.3)
    socket = stranger(server.address)
    say(socket, hello("actor-0"))
    hear(socket, m.Welcome)
    replacement = join(server.address, "actor-0")
    replacement.wait_welcome(20.0)


def test_restarted_actor_is_welcome_at_once(serve, stranger, hello):
    server = serve(lease_s=1000.0)
    for number in range(3):  # without a goodbye
        socket = stranger(server.address)
        say(socket, hello("actor-0", oldest_sequence=number, sent_below=number))
        assert hear(socket, m.Welcome).next_sequence == number
    assert server.actors() == ["actor-0"]


def test_wrong_layout_and_task_are_refused_by_field(serve, join, spec):
    server = serve()
    wrong = join(server.address, task={"name": "lift_cube", "control_rate_hz": "10"})
    with pytest.raises(InputError, match="task control_rate_hz: 20 here, 10 there"):
        wrong.wait_welcome(20.0)
    with pytest.raises(InputError, match="task control_rate_hz"):
        wrong.raise_if_dead()
    with pytest.raises(InputError, match="task control_rate_hz"):
        wrong.send(np.zeros(1, spec.dtype))


def test_learner_that_is_slow_to_take_loses_nothing(serve, join, rows, take, spec):
    server = serve(queue_bytes=10 * spec.dtype.itemsize)
    client = join(server.address)
    for number in range(100):
        client.send(rows(number, 1))
    taken: list[int] = []
    while len(taken) < 100:
        taken += take(server, 1)
    assert taken == list(range(100))


def test_late_joiner_gets_weights_at_once(serve, join, until):
    server = serve()
    server.publish(7, b"weights")
    client = join(server.address)
    until(client, lambda: client.latest_weights() == (7, b"weights"))
    assert client.latest_weights() is None


def test_slow_actor_sees_only_the_newest_weights(serve, join, until, stranger, hello):
    server = serve()
    socket = stranger(server.address)
    say(socket, hello())
    hear(socket, m.Welcome)
    for version in range(50):
        server.publish(version, bytes(1000))
    say(socket, m.WeightsRequest(-1))
    assert hear(socket, m.Weights).version == 49
    say(socket, m.WeightsRequest(49))
    for _ in range(2):
        say(socket, m.Heartbeat())
        assert isinstance(hear(socket, m.Message), m.Acknowledge), "the same weights must not be sent again"
    client = join(server.address)
    client.wait_welcome(20.0)
    seen: list[int] = []
    for version in range(50, 100):
        server.publish(version, bytes(1000))

    def newest_seen() -> bool:
        weights = client.latest_weights()
        seen.extend([] if weights is None else [weights[0]])
        return seen[-1:] == [99]

    until(client, newest_seen)
    assert seen == sorted(set(seen))


def test_versions_must_grow(serve):
    server = serve()
    server.publish(3, b"")
    with pytest.raises(ValueError, match="Version 3 was published after version 3"):
        server.publish(3, b"")


def test_progress_reaches_idle_actors(serve, join, until):
    server = serve()
    server.set_progress(5, 10)
    client = join(server.address)
    client.wait_welcome(20.0)
    assert (client.updates, client.step_allowance) == (5, 10)
    server.set_progress(6, 12)
    until(client, lambda: (client.updates, client.step_allowance) == (6, 12))


def test_stop_reaches_actors_present_and_to_come_and_close_waits_for_their_items(
    serve, join, rows, until, open_log
):
    server = serve(record_log=open_log())
    present = join(server.address, "present")
    present.wait_welcome(20.0)
    server.stop_actors("the run is complete")
    closing = threading.Thread(target=server.close)
    closing.start()
    until(present, lambda: present.stop_requested)
    assert present.stop_reason == "the run is complete"
    late = join(server.address, "late")
    until(late, lambda: late.stop_requested)
    for client in (present, late):
        client.send(rows(0, 100))
        assert client.flush(20.0)
    started_s = time.monotonic()
    for client in (present, late):
        client.close()
    closing.join(20.0)
    assert not closing.is_alive()
    assert time.monotonic() - started_s < 3.0, "close must not wait for those who have said goodbye"
    assert server.environment_steps == 200


def test_stop_reaches_actors_though_the_server_is_closed_while_it_is_looking_elsewhere(
    serve, join, until, wait_until
):
    """Both come in the middle of a turn of the receive thread, after it has looked for a reason to stop."""
    server = serve()
    client = join(server.address)
    client.wait_welcome(20.0)
    send_due, closing = server._send_due, threading.Thread(target=server.close)

    def interrupted(*arguments):
        if server._stop_reason is None:
            server.stop_actors("the run is complete")
            closing.start()
            wait_until(lambda: server._closing)
        send_due(*arguments)

    server._send_due = interrupted
    until(client, lambda: client.stop_requested)
    client.close()
    closing.join(20.0)
    assert not closing.is_alive()


def test_dead_receive_thread_is_noticed(serve, open_log, join, rows):
    log = open_log()
    server = serve(record_log=log)
    client = join(server.address)
    client.wait_welcome(20.0)
    log.close()
    client.send(rows(0, 1))
    started_s = time.monotonic()
    with pytest.raises(RuntimeError, match="receive thread died"):
        server.wait(20.0)
    assert time.monotonic() - started_s < 10.0, "no one must wait for a dead thread"
    with pytest.raises(RuntimeError, match="receive thread died"):
        server.poll()
    assert not client.flush(0.1), "what was not stored must not be acknowledged"


def test_a_full_disk_is_said_once_and_nothing_is_lost_or_doubled(
    serve, open_log, join, rows, take, until, wait_until, small_disk, fill, caplog
):
    log = open_log(small_disk / "replay.log")
    server = serve(record_log=log)
    client = join(server.address)
    client.send(rows(0, 100))
    assert client.flush(20.0)
    filler = fill(small_disk)
    for number in range(100, 4100):
        client.send(rows(number, 1))
    wait_until(lambda: caplog.messages)
    server.publish(3, b"weights")
    until(client, lambda: client.latest_weights() == (3, b"weights"))
    assert client.unacknowledged > 0
    assert server.environment_steps + client.unacknowledged >= 4100
    filler.unlink()
    assert client.flush(20.0)
    assert take(server, 4100) == list(range(4100))
    assert [int(step) for records in log.records() for step in records["step"]] == list(range(4100))
    full, over = (message for message in caplog.messages if "replay log" in message)
    assert "(No space left on device). The actors keep what they measure" in full
    assert over.endswith("can be written again.")


def test_port_in_use(serve, start, tmp_path):
    other = start("learner", "tcp://127.0.0.1:*", tmp_path / "other.log")
    address = other.stdout.readline().strip()
    with pytest.raises(
        InputError, match=f"cannot listen at {address}: another program uses it; stop that one"
    ):
        serve(address)
    other.kill()
    other.wait()
    serve(address).close()


@pytest.mark.parametrize(
    "address", ["nonsense", "tcp://127.0.0.1", "udp://127.0.0.1:5", "tcp://127.0.0.1:notaport"]
)
def test_unusable_address(serve, address):
    with pytest.raises(InputError, match=r"127\.0\.0\.1"):
        serve(address)


@pytest.mark.parametrize(
    "address", ["tcp://*:5555", "tcp://0.0.0.0:5555", "tcp://192.168.1.2:5555", "tcp://[::]:1"]
)
def test_no_open_port_without_keys(serve, join, address):
    with pytest.raises(InputError, match="open to the network and needs keys"):
        serve(address)
    with pytest.raises(InputError, match="open to the network and needs keys"):
        join(address)


def test_identity_of_a_run_has_one_size(serve):
    with pytest.raises(ValueError, match="16 bytes, not 3"):
        serve(run_id=b"run")


def test_close_twice(serve):
    server = serve()
    server.close()
    server.close()


def test_nobody_can_guess_the_number_of_the_next_connection(serve, join):
    """Who can, and takes it for their own, makes libzmq abort when that connection comes."""
    numbers = set()
    for name in "abc":
        ctypes.CDLL(None).srand(1)  # As in every process that begins.
        server = serve()
        join(server.address, name).wait_welcome(20.0)
        numbers |= dict(server._peers.items()).keys()
    assert len(numbers) == 3
