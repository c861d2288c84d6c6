"""The actor's side, with learners that come late, go away, start again or say nothing."""

import threading
import time
from contextlib import suppress

import numpy as np
import pytest
import zmq

from agent.config import InputError
from agent.transport import messages as m
from agent.transport.spool import SpoolLimits

SESSION = b"s" * 16
RUN = b"r" * 16


@pytest.fixture
def router():
    """A learner's socket without a learner behind it."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as socket:
        socket.linger = 0
        socket.rcvtimeo = 20_000
        socket.bind("tcp://127.0.0.1:*")
        yield socket


def address_of(router: zmq.Socket) -> str:
    return router.getsockopt_string(zmq.LAST_ENDPOINT)


def hear(router: zmq.Socket, kind: type) -> tuple[bytes, m.Message]:
    """Who says the next message of this type, and what; others are passed over."""
    while True:
        identity, *frames = router.recv_multipart()
        message, _ = m.decode_from_actor(frames)
        if isinstance(message, kind):
            return identity, message


def say(router: zmq.Socket, identity: bytes, message: m.Message, *payload: bytes) -> None:
    router.send_multipart([identity, m.encode(message), *payload])


def welcome(router: zmq.Socket) -> bytes:
    """Take the actor that introduces itself."""
    identity, hello = hear(router, m.Hello)
    say(router, identity, m.Welcome(RUN, hello.stream, 0, 0, 0, 0, SESSION))
    return identity


def test_nothing_is_lost_while_the_learner_is_away(serve, open_log, join, rows, take):
    first = serve()
    address = first.address
    first.close()
    client = join(address)
    for number in range(5000):
        client.send(rows(number, 1))
    assert not client.connected
    assert client.unacknowledged == client.known_steps == client.next_sequence == 5000
    server = serve(address, record_log=open_log())
    assert client.flush(20.0)
    assert take(server, 5000) == list(range(5000))
    assert (client.unacknowledged, client.environment_steps, client.known_steps) == (0, 5000, 5000)


def test_a_full_disk_of_the_actor_loses_nothing(serve, open_log, join, rows, take, small_disk):
    first = serve()
    address = first.address
    first.close()
    client = join(address, spool="../disk/spool", limits=SpoolLimits(64 << 20, 0))
    number = 0
    while client.no_room is None:
        client.send(rows(number, 500))
        number += 500
        assert number < 100_000
    assert "(No space left on device)." in client.no_room
    client.send(rows(number, 7))
    client.report({"number": number + 7})
    assert client.unacknowledged == number + 7
    server = serve(address, record_log=open_log())
    assert client.flush(20.0)
    assert client.no_room is None
    assert take(server, number + 7) == list(range(number + 7))
    assert server.poll_reports() == [{"number": number + 7}]


def test_learner_restarted_in_its_place_takes_up_the_numbers(serve, open_log, join, rows, take):
    log = open_log()
    first = serve(record_log=log)
    client = join(first.address)
    client.send(rows(0, 10))
    assert client.flush(20.0)
    first.close()
    log.close()
    client.send(rows(10, 5))
    second = serve(first.address, record_log=open_log())
    assert client.flush(20.0)
    assert take(second, 5) == [10, 11, 12, 13, 14]
    assert second.environment_steps == client.environment_steps == 15


def test_restarted_actor_goes_on_numbering_and_is_stored(serve, join, rows, take):
    server = serve()
    for start in (0, 800):
        client = join(server.address)
        assert client.next_sequence == start
        client.send(rows(start, 800))
        assert client.flush(20.0)
        client.close()
    assert take(server, 1600) == list(range(1600))


def test_actor_that_ends_without_a_learner_leaves_its_items_to_the_next(serve, join, rows, take):
    first = serve()
    address = first.address
    first.close()
    client = join(address)
    client.send(rows(0, 100))
    assert not client.flush(0.05)
    client.close()
    client = join(address)
    client.send(rows(100, 1))
    assert take(serve(address), 101) == list(range(101))


def test_weights_of_a_learner_that_began_again_from_an_older_checkpoint(serve, join, until):
    first = serve()
    client = join(first.address)
    first.publish(50, b"old")
    until(client, lambda: client.latest_weights() == (50, b"old"))
    first.close()
    serve(first.address).publish(3, b"resumed")
    until(client, lambda: client.latest_weights() == (3, b"resumed"))


def test_nobody_answers(router, join):
    client = join(address_of(router))
    with pytest.raises(InputError, match=r"No learner answered at tcp://127.0.0.1:\d+ within 0.1 s; check"):
        client.wait_welcome(0.1)
    client.raise_if_dead()


def test_reports_arrive_in_order_with_plain_values(serve, join, rows):
    server = serve()
    client = join(server.address)
    client.report({"kind": "episode", "return": np.float32(1.5), "limit_hits": {"workspace": 2}})
    client.send(rows(0, 2))
    client.report({"kind": "evaluation", "successes": [True, False]})
    assert client.unacknowledged <= 2
    assert client.flush(20.0)
    assert server.poll_reports() == [
        {"kind": "episode", "return": 1.5, "limit_hits": {"workspace": 2}},
        {"kind": "evaluation", "successes": [True, False]},
    ]
    assert (client.environment_steps, client.next_sequence) == (2, 4)
    with pytest.raises(ValueError, match="plain values"):
        client.report({"bad": object()})


def test_no_more_than_a_window_is_under_way(router, join, rows):
    client = join(address_of(router))
    identity = welcome(router)
    client.wait_welcome(20.0)
    for number in range(50):
        client.report({"number": number})
    firsts = [hear(router, m.EpisodeReport)[1].first_sequence for _ in range(8)]
    assert firsts == list(range(8))
    hear(router, m.Heartbeat)  # all else that comes by itself
    say(router, identity, m.Acknowledge(1, 0, 0, 0))
    assert hear(router, m.EpisodeReport)[1].first_sequence == 8


def test_transitions_that_are_handed_over_one_after_the_other_leave_together(router, join, rows):
    client = join(address_of(router))
    identity = welcome(router)
    client.wait_welcome(20.0)
    messages = sent = 0
    for number in range(2000):
        client.send(rows(number, 1))
    while sent < 2000:
        _, message = hear(router, m.Transitions)
        messages, sent = messages + 1, sent + message.count
        say(router, identity, m.Acknowledge(sent, sent, 0, 0))
    assert messages < 400
    assert client.flush(20.0)


def test_resend_begins_where_the_learner_says(router, join):
    client = join(address_of(router))
    identity = welcome(router)
    client.wait_welcome(20.0)
    for number in range(3):
        client.report({"number": number})
    for number in range(3):
        assert hear(router, m.EpisodeReport)[1].first_sequence == number
    say(router, identity, m.Resend(1))
    for number in (1, 2):
        assert hear(router, m.EpisodeReport)[1].first_sequence == number
    say(router, identity, m.Acknowledge(3, 0, 0, 0))
    assert client.flush(20.0)


@pytest.mark.parametrize(
    "frames",
    [
        [b""],
        [b"\xc1"],
        [m.encode(m.Heartbeat())],
        [m.encode(m.Weights(3))],
        [m.encode(m.Acknowledge(10**9, 0, 0, 0))],
        [m.encode(m.Resend(10**9))],
    ],
)
def test_a_learner_that_talks_nonsense_is_not_believed(router, join, until, frames):
    client = join(address_of(router))
    identity = welcome(router)
    router.send_multipart([identity, *frames])
    say(router, identity, m.Stop("behind the nonsense"))
    until(client, lambda: client.stop_requested)
    client.report({"number": 0})
    assert hear(router, m.EpisodeReport)[1].first_sequence == 0
    assert not client.flush(0.0)
    say(router, identity, m.Acknowledge(1, 0, 0, 0))
    assert client.flush(20.0)
    client.raise_if_dead()


def test_a_welcome_beyond_what_was_sent_is_not_believed(router, join):
    client = join(address_of(router))
    identity, hello = hear(router, m.Hello)
    say(router, identity, m.Welcome(RUN, hello.stream, 5, 0, 0, 0, SESSION))
    with pytest.raises(InputError, match="No learner answered"):
        client.wait_welcome(0.3)
    welcome(router)
    client.report({"number": 0})
    assert hear(router, m.EpisodeReport)[1].first_sequence == 0


def test_a_welcome_for_the_stream_of_the_run_before_is_not_believed(router, join):
    client = join(address_of(router))
    identity, hello = hear(router, m.Hello)
    say(router, identity, m.Welcome(RUN, hello.stream, 0, 0, 0, 0, SESSION))
    client.report({"number": 0})
    hear(router, m.EpisodeReport)
    say(router, identity, m.Acknowledge(1, 0, 0, 0))
    assert client.flush(20.0)
    for known in (1, 0):  # as if two of its introductions had been under way
        say(router, identity, m.Welcome(b"other run".ljust(16), hello.stream, known, 0, 0, 0, SESSION))
    heard = [hear(router, m.Message)[1] for _ in range(3)]
    assert not any(isinstance(message, m.WeightsRequest) for message in heard), "that is said when welcomed"
    anew = [message for message in heard if isinstance(message, m.Hello)][-1]
    assert anew.stream != hello.stream
    assert (anew.oldest_sequence, anew.sent_below) == (0, 0)
    assert (client.next_sequence, client.unacknowledged, client.known_steps) == (0, 0, 0)
    say(router, identity, m.Welcome(b"other run".ljust(16), anew.stream, 0, 0, 0, 0, SESSION))
    client.report({"number": 0})
    report = hear(router, m.EpisodeReport)[1]
    assert (report.stream, report.first_sequence) == (anew.stream, 0)


def test_silent_learner_is_greeted_anew(router, join):
    client = join(address_of(router))
    welcome(router)
    client.wait_welcome(20.0)
    hear(router, m.WeightsRequest)
    hear(router, m.Hello)
    assert not client.connected
    assert client.seconds_since_contact > 2.0


@pytest.mark.slow
def test_items_that_are_never_acknowledged_are_sent_again(router, join):
    client = join(address_of(router))
    identity = welcome(router)
    client.report({"number": 0})
    assert hear(router, m.EpisodeReport)[1].first_sequence == 0
    while True:
        _, message = hear(router, m.Message)
        if isinstance(message, m.EpisodeReport):
            break
        say(router, identity, m.Acknowledge(0, 0, 0, 0))
    assert message.first_sequence == 0


def test_a_change_between_two_waits_is_not_missed(serve, join, until):
    server = serve()
    client = join(server.address)
    client.wait_welcome(20.0)
    while client.wait(0.2):
        pass
    server.set_progress(1, 1)
    until(client, lambda: client.updates == 1)
    server.set_progress(2, 2)
    while client.updates != 2:
        pass
    assert client.wait(20.0)


def test_dead_sender_thread_is_noticed(serve, join, rows, until, tmp_path):
    first = serve()
    first.close()
    client = join(first.address)
    client.send(rows(0, 10))
    (segment,) = (tmp_path / "spools" / "actor-0").glob("*.log")
    with open(segment, "r+b") as file:
        file.truncate(10)
    serve(first.address)

    def dead() -> bool:
        with suppress(RuntimeError):
            client.raise_if_dead()
            return False
        return True

    until(client, dead)
    with pytest.raises(RuntimeError, match="sender thread died"):
        client.send(rows(10, 1))


def test_two_clients_cannot_share_a_spool(serve, join):
    server = serve()
    join(server.address)
    with pytest.raises(InputError, match="in use by another process"):
        join(server.address)


def test_close_twice(serve, join):
    client = join(serve().address)
    client.close()
    client.close()


@pytest.mark.parametrize("session", [SESSION, b"t" * 16])
def test_a_welcome_that_comes_late_ends_nobody(router, join, rows, until, session):
    """Of a connection that was lost it may be read after that of the next one, when what it wants is discarded."""
    client = join(address_of(router))
    client._spool._segments.segment_bytes = 1000
    identity, hello = hear(router, m.Hello)
    say(router, identity, m.Welcome(RUN, hello.stream, 0, 0, 0, 0, SESSION))
    until(client, lambda: client.connected)
    for number in range(20):
        client.send(rows(10 * number, 10))
    while client._spool.oldest_sequence == 0:
        client.send(rows(client.next_sequence, 10))
        _, message = hear(router, m.Transitions)
        say(router, identity, m.Acknowledge(message.first_sequence + message.count, 0, 0, 0))
    say(router, identity, m.Welcome(RUN, hello.stream, 0, 0, 0, 0, session))
    client.send(rows(client.next_sequence, 10))
    say(router, identity, m.Stop("heard"))
    until(client, lambda: client.stop_requested)
    hear(router, m.Transitions)
    client.raise_if_dead()
    assert client.connected


def test_who_makes_items_need_not_wait_for_a_disk_that_is_slow_when_a_learner_comes_back(serve, join, rows):
    """The learner's number goes to disk, and that the items are its run's is known."""
    server = serve()
    address = server.address
    client = join(address)
    client.send(rows(0, 5))
    assert client.flush(20.0)
    server.close()
    written, write = threading.Event(), client._spool.acknowledge

    def acknowledge(sequence):
        written.wait(20.0)
        write(sequence)

    with client._spool._disk:  # As a thread has it that writes.
        client._spool.acknowledge = acknowledge
        serve(address)
        seen = set()

        def look():
            for _ in range(200):
                seen.add(client.known_steps)
                time.sleep(0.01)

        looking = threading.Thread(target=look)
        looking.start()
        looking.join(10.0)
        in_time = not looking.is_alive()
        written.set()
        deadline_s = time.monotonic() + 20.0
        while not client.connected and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert client.connected
    looking.join()
    assert in_time
    assert seen == {5}
