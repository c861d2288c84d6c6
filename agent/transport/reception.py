"""Takes messages off the learner's socket without keeping more of them than any valid one has."""

from typing import NamedTuple

import zmq

_VIEW_FROM = 1 << 16  # Of smaller frames several may lie in one buffer of libzmq, which a view would keep.
MOST_FRAMES = 2
"""Frames of the longest valid message, its sender's routing identity not counted."""


class Arrival(NamedTuple):
    """A message as it came.

    Attributes:
        identity: Of the connection.
        key: Public key that the connection was let in with, as text; empty without keys.
        frames: At most one more than `MOST_FRAMES`.
        size: Bytes of all frames, also of those that were thrown away.
    """

    identity: bytes
    key: str
    frames: list[zmq.Frame]
    size: int

    def contents(self) -> list[bytes | memoryview]:
        """Of the frames; large ones are not copied, and read-only."""
        return [
            frame.bytes if len(frame) < _VIEW_FROM else memoryview(frame.buffer).toreadonly()
            for frame in self.frames
        ]


def receive(socket: zmq.Socket[bytes], *, with_keys: bool) -> Arrival:
    """The next message of a ROUTER.

    `maxmsgsize` limits a frame, nothing limits their number: they are counted while they are taken.

    Raises:
        zmq.Again: There is none.
    """
    frame: zmq.Frame = socket.recv(zmq.NOBLOCK, copy=False)
    identity, size = frame.bytes, 0
    frames: list[zmq.Frame] = []
    while frame.more:
        frame = socket.recv(copy=False)  # All of a message is here when its first frame is.
        size += len(frame)
        if len(frames) <= MOST_FRAMES:
            frames.append(frame)
    key = str(frame.get("User-Id")) if with_keys else ""
    return Arrival(identity, key, frames, size)
