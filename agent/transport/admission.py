"""Whom and what the learner takes: keys, names, numbers of actors, rates. Asked by its receive thread alone."""

from collections.abc import Collection
from typing import Protocol

import zmq

from agent.transport.allow_list import AllowList
from agent.transport.curve import ServerKeys, secure_server
from agent.transport.limits import Allowance, Limits, Rates, Verdict
from agent.transport.messages import Hello
from agent.transport.reception import Arrival, receive

_HANDSHAKE_MS = 5000
_MAX_TEXT = 2000


class Peer(Protocol):
    """An actor that was let in."""

    @property
    def actor(self) -> str:
        """Its name."""

    @property
    def stream(self) -> bytes:
        """What it sends."""

    @property
    def key(self) -> str:
        """Public key of its connection; empty without keys."""


class Admission:
    """Decides by what is known before a message is decoded, or of a Hello."""

    def __init__(self, context: zmq.Context, keys: ServerKeys | None, limits: Limits) -> None:
        """Make it before the server's socket binds.

        Raises:
            InputError: The keys cannot be used.
        """
        self.limits = limits
        self._keys = keys
        self._rates = Rates(limits)
        self._allow_list = AllowList(context, keys.clients_directory) if keys is not None else None
        self.lines = Allowance(per_s=0.5, most=50)
        """Of the log, for what anybody can cause any number of times."""

    def guard(self, socket: zmq.Socket[bytes]) -> None:
        """Make the server's socket ask for keys, if there are some, and not wait for who only connects."""
        socket.handshake_ivl = _HANDSHAKE_MS
        if self._keys is not None:
            secure_server(socket, self._keys)

    def register(self, poller: zmq.Poller) -> None:
        """Wake the thread when somebody wants in."""
        if self._allow_list is not None:
            poller.register(self._allow_list.socket, zmq.POLLIN)

    def attend(self, ready: Collection[object]) -> None:
        """Answer who wants in, by what the folder of keys says now."""
        if self._allow_list is not None:
            self._allow_list.refresh()
            if self._allow_list.socket in ready:
                self._allow_list.answer()

    def receive(self, socket: zmq.Socket[bytes]) -> Arrival:
        """See `agent.transport.reception.receive`."""
        return receive(socket, with_keys=self._allow_list is not None)

    def judge(self, arrival: Arrival) -> Verdict:
        """Whether a message is within what its key, or its connection, may send."""
        return self._rates.judge(arrival.key or arrival.identity, arrival.size)

    def owner(self, key: str) -> str | None:
        """Name of the key; None without keys, and of one that is not listed any more."""
        return self._allow_list.owner(key) if self._allow_list is not None else None

    def is_revoked(self, key: str) -> bool:
        """Whether the key of a connection is not listed any more."""
        return self._allow_list is not None and self._allow_list.owner(key) is None

    def impersonation(self, key: str, hello: Hello, peers: Collection[Peer]) -> str | None:
        """Why the holder of this key may not be that actor. A name that no key has is for everybody with a key."""
        if self._allow_list is None:
            return None
        owner = self._allow_list.owner(key)
        if hello.actor != owner and hello.actor in self._allow_list.names():
            return (
                f"Actor {hello.actor!r} has a key of its own, and this connection has that of {owner!r}: "
                "use the key of that name, or name the actor otherwise."
            )
        if any(peer.stream == hello.stream and peer.key != key for peer in peers):
            return (
                "An actor with another key sends this very spool: one of the two is a copy; "
                "remove the copied folder, and start again."
            )
        return None

    def crowd(self, others: int) -> str | None:
        """Why there is no room beside so many other actors."""
        if others < self.limits.actors:
            return None
        return (
            f"The learner has {others} actors, as many as it may; stop one of them, "
            "or start the learner with a higher transport.limits.actors."
        )

    def slow_down(self) -> str:
        """What a sender over the limits is told."""
        return (
            f"This actor sent more than {self.limits.messages_per_s:g} messages or {self.limits.megabytes_per_s:g} MB "
            "per second; the learner takes nothing of it for a moment."
        )

    def close(self) -> None:
        """After the server's socket is closed."""
        if self._allow_list is not None:
            self._allow_list.socket.close()


def printable(text: str) -> str:
    """Text of a peer, fit for a log and a terminal."""
    cut = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + " …"
    return "".join(character if character.isprintable() else "?" for character in cut)
