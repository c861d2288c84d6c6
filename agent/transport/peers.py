"""Who is connected to the learner: whom it refuses and why, who has a place, and whose is free again."""

import logging
import time
from collections.abc import ItemsView, ValuesView
from dataclasses import dataclass

from agent.transport.admission import Admission, printable
from agent.transport.handshake import mismatch
from agent.transport.intake import Intake
from agent.transport.messages import IDENTITY_BYTES, Hello, Refused

log = logging.getLogger(__name__)

_DISPLACED = 8


@dataclass
class Peer:
    """A welcomed connection; what is due to it is sent as soon as its socket takes it."""

    actor: str
    stream: bytes
    key: str
    heard_s: float
    process: bytes = bytes(IDENTITY_BYTES)
    displaced: tuple[bytes, ...] = ()  # Processes whose place it took.
    wants_newer_than: int | None = None
    acknowledge_due: bool = False
    resend_due: bool = False
    stop_due: bool = False


class Peers:
    """The welcomed connections by their routing identities. For the receive thread; `names` for any.

    Args:
        spec: The learner's layout of transitions, described.
        task: The learner's task, described.
        lease_s: An actor silent for so long is gone, and its name is free.
        admission: Says who may have which name, and whether there is room.
        intake: Knows what is stored of each stream.
    """

    def __init__(
        self, spec: dict[str, str], task: dict[str, str], lease_s: float, admission: Admission, intake: Intake
    ) -> None:
        self._spec = spec
        self._task = task
        self._lease_s = lease_s
        self._admission = admission
        self._intake = intake
        self._welcomed: dict[bytes, Peer] = {}

    def __len__(self) -> int:
        return len(self._welcomed)

    def get(self, identity: bytes) -> Peer | None:
        """Who has this connection; None of one that was not welcomed."""
        return self._welcomed.get(identity)

    def values(self) -> ValuesView[Peer]:
        """All of them."""
        return self._welcomed.values()

    def items(self) -> ItemsView[bytes, Peer]:
        """All of them, with their identities."""
        return self._welcomed.items()

    def names(self) -> list[str]:
        """Of the actors, sorted."""
        return sorted(peer.actor for peer in list(self._welcomed.values()))

    def describe(self, identity: bytes) -> str:
        """For a sentence of the log."""
        peer = self._welcomed.get(identity)
        # The number of a connection is nobody's business: see `agent.transport.numbering`.
        return f"actor {peer.actor!r}" if peer else "unknown peer"

    def refusal(self, identity: bytes, key: str, hello: Hello) -> Refused | None:
        """Why who introduces itself so is not welcome, now or ever; None if it is."""
        stored_below = self._intake.expected(hello.stream)
        reason = mismatch(hello, self._spec, self._task, stored_below)
        reason = reason or self._admission.impersonation(key, hello, self._welcomed.values())
        if reason is not None:
            return Refused(printable(reason), temporary=False)
        if any(p.stream == hello.stream and hello.process in p.displaced for p in self._welcomed.values()):
            return Refused(
                "Another process sends this very spool: one of the two is a copy; stop one of them, remove its folder, "
                "and start it again.",
                temporary=True,
            )
        others = [p for other, p in self._welcomed.items() if other != identity and p.stream != hello.stream]
        if any(peer.actor == hello.actor for peer in others):
            return Refused(
                f"Another actor named {hello.actor!r} is connected; give this one another name, "
                f"or stop the other and wait {self._lease_s:g} s.",
                temporary=True,
            )
        reason = self._admission.crowd(len(others))
        return Refused(reason, temporary=True) if reason is not None else None

    def welcome(self, identity: bytes, key: str, hello: Hello) -> tuple[Peer, int]:
        """Give a place to who is not refused; returns it, and the number of the item that it is to send next."""
        displaced = self._displaced_by(hello)
        self.forget(identity)
        # The same stream on another connection is the same actor before: one process only can hold a spool. One that
        # lost its place to a later process holds a copy.
        for other in [i for i, peer in self._welcomed.items() if peer.stream == hello.stream]:
            del self._welcomed[other]
        known = self._intake.join(hello.stream, hello.oldest_sequence)
        peer = Peer(hello.actor, hello.stream, key, time.monotonic(), hello.process, displaced)
        self._welcomed[identity] = peer
        return peer, known

    def _displaced_by(self, hello: Hello) -> tuple[bytes, ...]:
        """Processes that sent this stream before, newest last; not all, of a great many."""
        before = [peer for peer in self._welcomed.values() if peer.stream == hello.stream]
        processes = [process for peer in before for process in (*peer.displaced, peer.process)]
        return tuple(process for process in processes if process != hello.process)[-_DISPLACED:]

    def forget(self, identity: bytes) -> Peer | None:
        """Free the place of a connection; returns who had it, if anybody."""
        gone = self._welcomed.pop(identity, None)
        if gone is not None:
            self._intake.leave(gone.stream)
        return gone

    def expire(self) -> None:
        """Free the places of those that have been silent for a lease."""
        before_s = time.monotonic() - self._lease_s
        for identity, peer in [(i, peer) for i, peer in self._welcomed.items() if peer.heard_s < before_s]:
            self.forget(identity)
            if self._admission.lines.take():
                log.warning("Actor %r has not been heard for %g s.", peer.actor, self._lease_s)
