"""Whom the learner lets in, and how much of them it takes."""

import errno
import os
import shutil
import time

import pytest
import zmq

from agent.config import InputError
from agent.transport import messages as m
from agent.transport.allow_list import AllowList
from agent.transport.curve import ClientKeys, ServerKeys, check_exposure, create_keys
from agent.transport.limits import Allowance, Limits, Rates, Verdict
from agent.transport.reception import MOST_FRAMES, receive

PATIENCE_S = 20.0


def introduction(spec, number: int, **fields) -> m.Hello:
    usual = {
        "protocol_version": m.PROTOCOL_VERSION,
        "actor": f"actor-{number}",
        "stream": number.to_bytes(16, "big"),
        "spec": spec.description(),
        "task": {"name": "lift_cube", "control_rate_hz": "20"},
        "oldest_sequence": 0,
        "sent_below": 0,
    }
    return m.Hello(**{**usual, **fields})


def answer(socket) -> m.Message:
    return m.decode_from_learner(socket.recv_multipart())[0]


@pytest.mark.parametrize(
    "address",
    [
        "tcp://*:5555",
        "tcp://0.0.0.0:5555",
        "tcp://[::]:5555",
        "tcp://[::ffff:10.0.0.1]:5555",
        "tcp://[fe80::1%eth0]:5555",
        "tcp://10.0.0.1:5555",
        "tcp://eth0:5555",
        "tcp://lo:5555",
        "tcp://learner.local:5555",
        "tcp://localhost.example.org:5555",
        "tcp://127.0.0.1.example.org:5555",
        "tcp://127.1:5555",
        "tcp://2130706433:5555",
        "tcp://127.0.0.1;10.0.0.1:5555",
        "ipc://@abstract",
    ],
)
def test_every_way_in_but_loopback_needs_keys(address, tmp_path):
    with pytest.raises(InputError, match="needs keys"):
        check_exposure(address, None)
    check_exposure(address, ServerKeys(tmp_path, tmp_path))


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:5", "tcp://127.8.8.8:5", "tcp://localhost:5", "tcp://[::1]:5", "ipc:///x/y"]
)
def test_this_machine_needs_none(address):
    check_exposure(address, None)


@pytest.mark.parametrize("address", ["udp://127.0.0.1:5", "inproc://x", "ws://127.0.0.1:5", "tcp://5555", ""])
def test_other_ways_are_refused_with_and_without_keys(address, tmp_path):
    for keys in (None, ServerKeys(tmp_path, tmp_path)):
        with pytest.raises(InputError, match="cannot be used"):
            check_exposure(address, keys)


def test_ipv6(serve, join):
    try:
        server = serve("tcp://[::1]:*")
    except InputError:
        pytest.skip("this machine has no IPv6")
    join(server.address).wait_welcome(PATIENCE_S)


@pytest.fixture
def key_of(tmp_path):
    """Make an actor's keys; let them in under a name, if one is given."""
    public, _ = create_keys(tmp_path / "learner", "learner")
    allowed = tmp_path / "learner" / "actors"
    allowed.mkdir()

    def make(name: str, listed_as: str | None = None) -> ClientKeys:
        own, secret = create_keys(tmp_path / name, name)
        if listed_as is not None:
            shutil.copy(own, allowed / f"{listed_as}.key")
        return ClientKeys(secret, public)

    return make


@pytest.fixture
def server_keys(tmp_path):
    return ServerKeys(tmp_path / "learner" / "learner.key_secret", tmp_path / "learner" / "actors")


def test_nobody_takes_the_name_of_anothers_key(wait_until, key_of, server_keys, serve, join, caplog):
    one, two = key_of("one", listed_as="arm-1"), key_of("two", listed_as="arm-2")
    server = serve(keys=server_keys)
    with caplog.at_level("INFO"):
        join(server.address, "arm-1", keys=one).wait_welcome(PATIENCE_S)
        wait_until(lambda: "(key 'arm-1')" in caplog.text)  # Logged after the welcome was sent.
    thief = join(server.address, "arm-1", spool="thief", keys=two)
    with pytest.raises(InputError, match=r"'arm-1' has a key of its own.*that of 'arm-2'"):
        thief.wait_welcome(PATIENCE_S)
    join(server.address, "spare", keys=two).wait_welcome(PATIENCE_S)
    assert server.actors() == ["arm-1", "spare"]


def test_a_key_may_join_and_leave_while_the_learner_runs(
    wait_until, key_of, server_keys, serve, join, rows, take
):
    key_of("one", listed_as="arm-1")
    server = serve(keys=server_keys)
    late = join(server.address, "late", keys=key_of("two", listed_as="late"))
    late.wait_welcome(PATIENCE_S)
    late.send(rows(0, 2))
    assert take(server, 2) == [0, 1]
    (server_keys.clients_directory / "late.key").unlink()
    wait_until(lambda: server.actors() == [])
    late.send(rows(2, 1))
    assert not late.flush(1.0)
    assert server.poll() is None


def test_an_actor_that_was_turned_away_is_let_in_once_its_key_is_listed(
    wait_until, key_of, server_keys, serve, join, caplog
):
    key_of("one", listed_as="arm-1")
    server = serve(keys=server_keys)
    early = join(server.address, "early", keys=key_of("two"))
    wait_until(lambda: "is not listed" in caplog.text)
    shutil.copy(server_keys.secret_file.parent.parent / "two" / "two.key", server_keys.clients_directory)
    early.wait_welcome(PATIENCE_S)


def test_a_broken_key_lets_nobody_in_and_nobody_out(
    wait_until, key_of, server_keys, serve, join, rows, take, caplog
):
    one = key_of("one", listed_as="arm-1")
    server = serve(keys=server_keys)
    client = join(server.address, "arm-1", keys=one)
    client.wait_welcome(PATIENCE_S)
    (server_keys.clients_directory / "broken.key").write_bytes(b"\xff" * 50)
    wait_until(lambda: "Nobody is let in by it" in caplog.text)
    client.send(rows(0, 1))
    assert take(server, 1) == [0]


class Listing:
    """The files of a folder, of which nothing can be opened while `error` is set."""

    def __init__(self, folder):
        self.folder, self.error = folder, None

    def glob(self, pattern):
        if self.error is not None:
            raise self.error
        return self.folder.glob(pattern)


def test_while_nothing_can_be_opened_those_who_were_listed_stay(tmp_path, monkeypatch):
    create_keys(tmp_path, "arm-1")
    with zmq.Context() as context:
        allowed = AllowList(context, tmp_path)
        allowed._directory = listing = Listing(tmp_path)
        monkeypatch.setattr("agent.transport.allow_list._LOOK_EVERY_S", 0.0)
        listing.error = OSError(errno.EMFILE, "Too many open files")
        allowed.refresh()
        listing.error = OSError(errno.EBADF, "a defect")
        with pytest.raises(OSError, match="a defect"):
            allowed.refresh()
        listing.error = None
        create_keys(tmp_path, "arm-2")
        with monkeypatch.context() as nothing_opens:
            nothing_opens.setattr("agent.transport.curve.auth.load_certificate", raise_emfile)
            allowed.refresh()
            assert allowed.names() == {"arm-1"}
        allowed.refresh()
        assert allowed.names() == {"arm-1", "arm-2"}
        allowed.socket.close()


def raise_emfile(*_):
    raise OSError(errno.EMFILE, "Too many open files")


def test_a_key_that_was_half_written_is_read_when_it_is_whole_whatever_its_time(tmp_path):
    public, _ = create_keys(tmp_path, "arm-1")
    create_keys(tmp_path, "arm-2")
    whole, at = public.read_bytes(), public.stat().st_mtime_ns
    public.write_bytes(whole[:20])
    os.utime(public, ns=(at, at))
    allowed = AllowList.__new__(AllowList)
    allowed._directory, allowed._read_from, allowed._names = tmp_path, (), {}
    allowed._read()
    assert allowed.names() == {"arm-2"}
    public.write_bytes(whole)
    os.utime(public, ns=(at, at))
    allowed._read()
    assert allowed.names() == {"arm-1", "arm-2"}


def test_so_many_actors_and_no_more(serve, stranger, spec, join):
    server = serve(limits=Limits(actors=3), lease_s=1000.0)
    sockets = [stranger(server.address) for _ in range(5)]
    for number, socket in enumerate(sockets):
        socket.send(m.encode(introduction(spec, number)))
        reply = answer(socket)
        assert isinstance(reply, m.Welcome if number < 3 else m.Refused)
    assert "as many as it may" in reply.reason
    assert reply.temporary
    assert len(server.actors()) == 3
    sockets[0].send(m.encode(introduction(spec, 0)))
    assert isinstance(answer(sockets[0]), m.Welcome), "who has a place keeps it"
    sockets[1].send(m.encode(m.Goodbye()))
    join(server.address, "replacement").wait_welcome(PATIENCE_S)


def test_a_thousand_strangers_leave_nothing_behind(wait_until, serve, stranger, spec):
    server = serve(limits=Limits(actors=2), lease_s=1000.0)
    socket = stranger(server.address)
    for number in range(1000):
        socket.send(m.encode(introduction(spec, number)))
        assert isinstance(answer(socket), m.Welcome)
    assert len(server._peers) == 1
    assert len(server._intake._cursors) == 1
    socket.send(m.encode(m.Goodbye()))
    wait_until(lambda: not server._intake._cursors)


def test_what_is_stored_is_never_forgotten(serve, stranger, spec, rows, take):
    server = serve()
    socket = stranger(server.address)
    hello = introduction(spec, 7)
    socket.send(m.encode(hello))
    assert answer(socket).next_sequence == 0
    socket.send_multipart([m.encode(m.Transitions(hello.stream, 0, 3)), rows(0, 3).tobytes()])
    assert take(server, 3) == [0, 1, 2]
    socket.send(m.encode(m.Goodbye()))
    socket.send(m.encode(introduction(spec, 7, sent_below=3)))
    while not isinstance(reply := answer(socket), m.Welcome):
        pass
    assert reply.next_sequence == 3


def test_an_actor_over_the_limits_is_told_once_and_loses_nothing(serve, join, rows, take, caplog):
    server = serve(limits=Limits(messages_per_s=20))
    client = join(server.address)
    client.wait_welcome(PATIENCE_S)
    for number in range(300):
        client.send(rows(number, 1))
        if number % 3 == 0:
            client.report({"number": number})  # Breaks batches, so that there are many messages.
    assert take(server, 300) == list(range(300))
    assert client.flush(PATIENCE_S)
    assert server.messages_over_limits > 0
    told = caplog.text.count("Told actor 'actor-0'")
    assert 1 <= told <= 10
    assert client.connected


def test_a_flood_does_not_keep_others_out(wait_until, serve, stranger, join, rows, take):
    server = serve(limits=Limits(messages_per_s=50))
    flood = stranger(server.address)
    flood.sndhwm = 0
    for _ in range(5000):
        flood.send(b"\xff")
    client = join(server.address)
    client.send(rows(0, 5))
    assert take(server, 5) == list(range(5))
    wait_until(lambda: server.messages_over_limits + server.malformed_messages == 5000)
    assert server.malformed_messages < 500, "what is over the limits is not even decoded"


def test_frames_beyond_those_of_any_message_are_not_kept(wait_until, serve, stranger, join, rows, take):
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        router.bind("inproc://x")
        dealer.connect("inproc://x")
        dealer.send_multipart([b"x"] * 10_000)
        dealer.send_multipart([b"head", b"payload"])
        arrival = receive(router, with_keys=False)
        assert len(arrival.frames) == MOST_FRAMES + 1
        assert arrival.size == 10_000
        following = receive(router, with_keys=False)
        assert [frame.bytes for frame in following.frames] == [b"head", b"payload"]
    server = serve()
    stranger(server.address).send_multipart([m.encode(m.Heartbeat())] * 1000)
    client = join(server.address)
    client.send(rows(0, 1))
    assert take(server, 1) == [0]
    wait_until(lambda: server.malformed_messages == 1)


def test_senders_are_remembered_up_to_a_number():
    rates = Rates(Limits())
    for number in range(5000):
        assert rates.judge(number.to_bytes(4, "big"), 1) is Verdict.TAKEN
    assert len(rates._accounts) <= 1024


def test_an_account_is_closed_until_half_of_it_is_there_again(monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    rates = Rates(Limits(messages_per_s=10, megabytes_per_s=1))
    verdicts = [rates.judge("a", 1) for _ in range(22)]
    assert verdicts == [Verdict.TAKEN] * 20 + [Verdict.FIRST_OVER, Verdict.DROPPED]
    now_s = 0.9
    assert rates.judge("a", 1) is Verdict.DROPPED
    now_s = 1.1
    assert rates.judge("a", 1) is Verdict.TAKEN
    assert rates.judge("b", 5_000_000) is Verdict.TAKEN, "a message larger than all of it is on credit"
    assert rates.judge("b", 1) is Verdict.FIRST_OVER
    now_s = 4.0
    assert rates.judge("b", 1) is Verdict.DROPPED
    now_s = 6.0
    assert rates.judge("b", 1) is Verdict.TAKEN


def test_allowance_is_never_more_than_its_most(monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    allowance = Allowance(per_s=1, most=3)
    now_s = 1e6
    assert [allowance.take() for _ in range(4)] == [True, True, True, False]


@pytest.mark.parametrize("field", [{"actors": 0}, {"messages_per_s": 1}, {"megabytes_per_s": float("nan")}])
def test_limits_that_shut_out_everybody(field):
    with pytest.raises(ValueError, match="must be at least 1"):
        Limits(**field)


def test_the_reason_of_a_refusal_is_short_and_printable(serve, stranger, spec):
    server = serve()
    socket = stranger(server.address)
    task = {f"\x1b[31m{number}": "x" * 1000 for number in range(100)}
    socket.send(m.encode(introduction(spec, 0, task=task)))
    reply = answer(socket)
    assert isinstance(reply, m.Refused)
    assert len(reply.reason) < 2100
    assert reply.reason.isprintable()
    assert "task \\x1b" in reply.reason or "task ?[31m" in reply.reason
