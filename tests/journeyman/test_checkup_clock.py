"""Clocks that differ are found, and by how much."""

import socket
import threading
import time
from contextlib import contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import InputError
from journeyman import checkup_clock
from journeyman.checkup import Verdict
from journeyman.checkup_clock import ClockAnswerer, measure_offset, peer_clock, split_address, synchronisation


@contextmanager
def answering(ahead_s=0.0):
    """Another host, whose clock is so far ahead."""
    answerer = ClockAnswerer(("127.0.0.1", 0), lambda: time.time_ns() + round(ahead_s * 1e9))
    thread = threading.Thread(target=answerer.serve)
    thread.start()
    try:
        yield answerer.port
    finally:
        answerer.close()
        thread.join(10.0)
        assert not thread.is_alive()


@settings(max_examples=15)
@given(ahead_s=st.floats(-1e5, 1e5))
def test_the_offset_is_within_what_is_promised(ahead_s):
    with answering(ahead_s) as port:
        offset = measure_offset(("127.0.0.1", port))
    assert abs(offset.seconds - ahead_s) <= offset.uncertainty_s + 1e-6


@pytest.mark.parametrize(
    ("ahead_s", "verdict"),
    [(0.0, Verdict.OK), (0.05, Verdict.WARN), (-0.05, Verdict.WARN), (3.0, Verdict.FAIL)],
)
def test_clocks_that_differ_are_found(ahead_s, verdict):
    with answering(ahead_s) as port:
        check = peer_clock(f"127.0.0.1:{port}")
    assert check.verdict is verdict
    assert bool(check.fix) is (verdict is not Verdict.OK)


@given(noise=st.lists(st.binary(max_size=80), max_size=5))
@settings(max_examples=10)
def test_what_is_no_question_is_not_answered(noise):
    with answering() as port, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for packet in noise:
            stranger.sendto(packet, ("127.0.0.1", port))
        assert measure_offset(("127.0.0.1", port)).uncertainty_s < 10.0
        stranger.setblocking(False)
        with pytest.raises(BlockingIOError):
            stranger.recv(100)


def test_nobody_there_is_said_with_what_to_do(monkeypatch):
    monkeypatch.setattr(checkup_clock, "_TIMEOUT_S", 0.01)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as mute:
        mute.bind(("127.0.0.1", 0))
        check = peer_clock(f"127.0.0.1:{mute.getsockname()[1]}")
    assert check.verdict is Verdict.FAIL
    assert "doctor answer=" in check.fix


@pytest.mark.parametrize("text", ["host", "host:", ":5", "host:x", "host:70000", "tcp:host:0"])
def test_an_address_that_is_none_is_refused(text):
    with pytest.raises(InputError, match="HOST:PORT"):
        split_address(text)


def test_an_address_of_another_machine_cannot_be_listened_at():
    with pytest.raises(InputError, match="choose an address of this machine"):
        ClockAnswerer(("192.0.2.1", 5499))


def test_a_clock_that_nothing_keeps_right_is_found():
    assert synchronisation(lambda: (True, 0.004)).verdict is Verdict.OK
    check = synchronisation(lambda: (False, 16.0))
    assert check.verdict is Verdict.WARN
    assert "chrony" in check.fix


def test_a_machine_that_does_not_know_is_no_failure():
    def unknown():
        raise OSError(1, "Operation not permitted")

    assert synchronisation(unknown).verdict is Verdict.OK
    assert synchronisation().verdict in (Verdict.OK, Verdict.WARN)  # Whatever this one says.
