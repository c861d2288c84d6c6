"""Sinks made of memory."""

import threading

import pytest


class Recorded:
    """A sink that remembers; whatever is in `fails` raises, and `gate` holds `write` up until it is set."""

    def __init__(self, fails=(), error=None):
        self.fails = set(fails)
        self.error = error or OSError(28, "No space left on device")
        self.points = []
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()

    def _call(self, name):
        self.calls.append(name)
        if name in self.fails:
            raise self.error

    def open(self):
        self._call("open")

    def write(self, step, values):
        self.gate.wait()
        self._call("write")
        self.points.append((step, dict(values)))

    def close(self):
        self._call("close")


@pytest.fixture
def recorded():
    return Recorded
