"""The learner's side: one port, one receive thread, any number of actors."""

import logging
import os
import threading
import time

import zmq

from agent.config import InputError
from agent.record_log import FrameKind, RecordLog
from agent.transition import Records, TransitionSpec
from agent.transport.admission import Admission, printable
from agent.transport.curve import ServerKeys, check_exposure
from agent.transport.intake import Intake, Outcome
from agent.transport.limits import Limits, Verdict
from agent.transport.liveness import find_dead_connections
from agent.transport.messages import (
    BATCH_BYTES,
    IDENTITY_BYTES,
    Acknowledge,
    Buffer,
    EpisodeReport,
    FromActor,
    Goodbye,
    Hello,
    HelloWanted,
    MalformedMessageError,
    Message,
    Refused,
    Report,
    Resend,
    Stop,
    Transitions,
    Weights,
    WeightsRequest,
    Welcome,
    decode_from_actor,
    decode_report,
    encode,
)
from agent.transport.numbering import begin_at_random
from agent.transport.peers import Peer, Peers
from agent.transport.quarantine import Quarantine
from agent.transport.reception import Arrival
from agent.transport.waker import Waker

log = logging.getLogger(__name__)

_TICK_MS = 100
_RECEIVE_AT_ONCE = 64
_ACKNOWLEDGE_AT_ONCE = BATCH_BYTES // 4  # Of messages so large few are under way: their sender waits.
_QUEUED_MESSAGES = 16
_FAREWELL_S = 5.0


class LearnerServer:
    """Receives the actors' transitions exactly once each and hands out weights.

    An item is acknowledged after it is in `record_log`, and recognised by its number when it comes again;
    so a `kill -9` of either side loses nothing and doubles nothing in the log. While the disk takes nothing,
    nothing is acknowledged, and actors send it again later. Whatever strangers send is dropped, counted and
    logged. All methods may be called from any thread.

    Attributes:
        address: Where actors connect; names the port that was chosen if `*` was asked for.
        malformed_messages: How many messages were dropped because they were none of the protocol.
        messages_over_limits: How many were dropped because their sender sent too many.
        messages: How many came, the dropped ones included.
    """

    def __init__(
        self,
        address: str,
        spec: TransitionSpec,
        task: dict[str, str],
        *,
        run_id: bytes | None = None,
        record_log: RecordLog | None = None,
        quarantine: Quarantine | None = None,
        keys: ServerKeys | None = None,
        limits: Limits | None = None,
        sync: bool = False,
        lease_s: float = 5.0,
        queue_bytes: int = 512 << 20,
        changed: threading.Condition | None = None,
    ) -> None:
        """Bind and start the receive thread.

        Args:
            address: Like `tcp://127.0.0.1:5555`.
            spec: Layout of transitions; actors of another one are refused.
            task: Description of the task; actors of another one are refused.
            run_id: 16 bytes, the same for all learners of one run; made up if None. An actor hands what it
                spooled for one run to no other.
            record_log: Holds what was received before, and takes what is to come. None keeps nothing.
            quarantine: Says which transitions must not be learned from, and takes these; None looks at none.
            keys: CURVE keys; needed for every address that is not loopback.
            limits: How many actors, and how much of each; the usual ones if None.
            sync: Whether the log is forced to disk before anything is acknowledged.
            lease_s: An actor silent for so long is gone, and its name is free.
            queue_bytes: How much may wait for `poll` before actors have to wait.
            changed: Is notified of what arrives, for who waits for several servers.

        Raises:
            InputError: The address cannot be used, is taken, or is open to a network without keys.
        """
        if run_id is not None and len(run_id) != IDENTITY_BYTES:
            raise ValueError(f"A run's identity is {IDENTITY_BYTES} bytes, not {len(run_id)}.")
        check_exposure(address, keys)
        self._spec = spec
        self._record_log, self._quarantine = record_log, quarantine
        self._intake = Intake(spec.dtype, record_log, queue_bytes, changed, quarantine, sync)
        self._run_id = run_id or os.urandom(IDENTITY_BYTES)
        self._session = os.urandom(IDENTITY_BYTES)
        self._weights: tuple[int, bytes] | None = None
        self._progress = (0, 0)
        self._stop_reason: str | None = None
        self._closing = False
        self._error: BaseException | None = None
        self.malformed_messages = 0
        self.messages_over_limits = 0
        self.messages = 0
        self._waker = Waker()
        self._context = zmq.Context()
        try:
            self._admission = Admission(self._context, keys, limits or Limits())
            self._peers = Peers(spec.description(), task, lease_s, self._admission, self._intake)
            self._socket = self._bind(address)
        except BaseException:
            self._context.destroy(linger=0)
            self._waker.close()
            raise
        self.address: str = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)
        self._thread = threading.Thread(target=self._run, name="receive", daemon=True)
        self._thread.start()

    def poll(self) -> Records | None:
        """The oldest batch not yet taken, read-only, shape (N,); None if there is none.

        Raises:
            RuntimeError: The receive thread is dead.
        """
        self.raise_if_dead()
        return self._intake.poll()

    def poll_reports(self) -> list[Report]:
        """All reports not yet taken, in the order of each stream."""
        return self._intake.poll_reports()

    def wait(self, timeout_s: float) -> bool:
        """Wait until there is something to poll; return whether there is."""
        arrived = self._intake.wait(timeout_s)
        self.raise_if_dead()
        return arrived

    @property
    def has_news(self) -> bool:
        """Whether there is something to poll, or never will be."""
        return self._intake.has_news

    def publish(self, version: int, payload: bytes) -> None:
        """Offer weights: every actor that has older ones gets these, unless newer ones come first.

        Args:
            version: Grows from one publication to the next.
            payload: Opaque.
        """
        if self._weights is not None and version <= self._weights[0]:
            raise ValueError(f"Version {version} was published after version {self._weights[0]}.")
        self._weights = (version, payload)
        self._waker.wake()

    def set_progress(self, updates: int, step_allowance: int) -> None:
        """Tell actors how far learning is.

        Args:
            updates: Critic updates made.
            step_allowance: Environment step at which actors in simulated time wait.
        """
        if (updates, step_allowance) != self._progress:
            self._progress = (updates, step_allowance)
            self._waker.wake()

    def stop_actors(self, reason: str) -> None:
        """Ask all actors, present and to come, to end; `close` then waits for what they have to hand in."""
        self._stop_reason = reason
        self._waker.wake()

    @property
    def environment_steps(self) -> int:
        """Transitions stored from all actors, those of earlier processes included."""
        return self._intake.environment_steps

    def actors(self) -> list[str]:
        """Names of the actors heard from lately."""
        return self._peers.names()

    def sync(self) -> None:
        """Make what was received so far survive a loss of power."""
        for kept in (self._record_log, self._quarantine):
            if kept is not None:
                kept.sync()

    def raise_if_dead(self) -> None:
        """Raise the error that ended the receive thread, if one did: nothing arrives any more.

        Raises:
            RuntimeError: With the error as its cause.
        """
        if self._error is not None:
            raise RuntimeError(f"The receive thread died: {self._error!r}.") from self._error

    def close(self) -> None:
        """Stop receiving; idempotent. The record log stays open: it belongs to who opened it."""
        if self._closing:
            return
        self._closing = True
        self._waker.wake()
        self._thread.join()
        self._context.term()
        self._waker.close()

    # All below runs on the receive thread, which alone touches the sockets.

    def _bind(self, address: str) -> zmq.Socket[bytes]:
        begin_at_random()
        socket = self._context.socket(zmq.ROUTER)
        socket.linger = 500
        socket.router_mandatory = True  # an undeliverable message is reported instead of lost
        socket.rcvhwm = socket.sndhwm = _QUEUED_MESSAGES
        socket.maxmsgsize = max(BATCH_BYTES, self._spec.dtype.itemsize)
        find_dead_connections(socket)
        socket.ipv6 = "[" in address
        self._admission.guard(socket)
        try:
            socket.bind(address)
        except zmq.ZMQError as error:
            if error.errno == zmq.EADDRINUSE:
                remedy = "another program uses it; stop that one, or choose another port"
            else:
                remedy = f"{error.strerror}; choose an address of this machine and a free port"
            raise InputError(f"The learner cannot listen at {address}: {remedy}.") from None
        return socket

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            log.exception("The receive thread died.")
            self._error = error
        finally:
            self._socket.close()
            self._admission.close()
            self._intake.end()

    def _serve(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker, zmq.POLLIN)
        self._admission.register(poller)
        told_progress, told_stop = self._progress, False
        farewell_s: float | None = None
        while farewell_s is None or (self._peers and time.monotonic() < farewell_s):
            ready = dict(poller.poll(_TICK_MS))
            self._waker.clear()
            # Read before the reason to stop, which is there first: or nobody would be told.
            closing = self._closing
            self._admission.attend(ready)
            self._receive()
            self._peers.expire()
            if told_progress != self._progress:
                told_progress = self._progress
                for peer in self._peers.values():
                    peer.acknowledge_due = True
            if not told_stop and self._stop_reason is not None:
                told_stop = True
                for peer in self._peers.values():
                    peer.stop_due = True
            for identity, peer in self._peers.items():
                self._send_due(identity, peer)
            if closing and farewell_s is None:
                farewell_s = time.monotonic() + (_FAREWELL_S if told_stop else 0.0)

    def _receive(self) -> None:
        for _ in range(_RECEIVE_AT_ONCE):
            try:
                arrival = self._admission.receive(self._socket)
            except zmq.Again:
                return
            self.messages += 1
            if self._is_over_limits(arrival) or self._is_revoked(arrival):
                continue
            try:
                self._handle(arrival, *decode_from_actor(arrival.contents()))
            except MalformedMessageError as error:
                self._drop(arrival.identity, error)
            if arrival.size >= _ACKNOWLEDGE_AT_ONCE and (peer := self._peers.get(arrival.identity)):
                self._send_due(arrival.identity, peer)

    def _is_over_limits(self, arrival: Arrival) -> bool:
        """Whether the sender is to wait. It is told once, begins again with a Hello, and sends what was dropped."""
        verdict = self._admission.judge(arrival)
        if verdict is Verdict.TAKEN:
            return False
        self.messages_over_limits += 1
        peer = self._peers.get(arrival.identity)
        if peer is not None:
            peer.heard_s = time.monotonic()
        if verdict is Verdict.FIRST_OVER:
            reason = self._admission.slow_down()
            self._send(arrival.identity, Refused(reason, temporary=True))
            if self._admission.lines.take():
                log.warning("Told %s: %s", self._peers.describe(arrival.identity), reason)
        return True

    def _is_revoked(self, arrival: Arrival) -> bool:
        if not self._admission.is_revoked(arrival.key):
            return False
        gone = self._peers.forget(arrival.identity)
        if gone is not None:
            log.warning("Actor %r is let in no more: its key is not listed.", gone.actor)
        return True

    def _drop(self, identity: bytes, error: MalformedMessageError) -> None:
        self.malformed_messages += 1
        # Powers of two only, so that a flood does not fill the log.
        if self.malformed_messages & (self.malformed_messages - 1) == 0:
            log.warning(
                "Dropped malformed message number %d, from %s: %s",
                self.malformed_messages,
                self._peers.describe(identity),
                printable(str(error)),
            )

    def _handle(self, arrival: Arrival, message: FromActor, payload: Buffer) -> None:
        identity = arrival.identity
        if isinstance(message, Hello):
            self._greet(identity, arrival.key, message)
            return
        peer = self._peers.get(identity)
        if peer is None:
            self._send(identity, HelloWanted())
            return
        peer.heard_s = time.monotonic()
        match message:
            case Transitions():
                if len(payload) != message.count * self._spec.dtype.itemsize:
                    raise MalformedMessageError(f"{message.count} records in {len(payload)} bytes")
                self._take(peer, FrameKind.RECORDS, message, message.count, payload)
            case EpisodeReport():
                decode_report(payload)
                self._take(peer, FrameKind.REPORT, message, 1, payload)
            case WeightsRequest():
                peer.wants_newer_than = message.newer_than
            case Goodbye():
                self._peers.forget(identity)
            case _:
                peer.acknowledge_due = True

    def _take(
        self, peer: Peer, kind: FrameKind, message: Transitions | EpisodeReport, items: int, payload: Buffer
    ) -> None:
        if message.stream != peer.stream:
            raise MalformedMessageError("items of a stream that is not this connection's")
        outcome = self._intake.take(kind, peer.stream, message.first_sequence, items, payload)
        if self._quarantine is not None:
            self._quarantine.tell(peer.actor)
        peer.acknowledge_due = True
        if outcome not in (Outcome.STORED, Outcome.DUPLICATE):
            peer.resend_due = True

    def _greet(self, identity: bytes, key: str, hello: Hello) -> None:
        refusal = self._peers.refusal(identity, key, hello)
        if refusal is not None:
            self._peers.forget(identity)
            if self._admission.lines.take():
                log.warning("Refused actor %r: %s", hello.actor, refusal.reason)
            self._send(identity, refusal)
            return
        peer, known = self._peers.welcome(identity, key, hello)
        peer.stop_due = self._stop_reason is not None
        progress = self.environment_steps, *self._progress
        self._send(identity, Welcome(self._run_id, hello.stream, known, *progress, self._session))
        if self._admission.lines.take():
            owner = self._admission.owner(key)
            by = f" (key {owner!r})" if owner else ""
            log.info("Actor %r%s joins at item %d.", hello.actor, by, known)

    def _send_due(self, identity: bytes, peer: Peer) -> None:
        expected = self._intake.expected(peer.stream)
        if peer.acknowledge_due:
            acknowledge = Acknowledge(expected, self.environment_steps, *self._progress)
            peer.acknowledge_due = not self._send(identity, acknowledge)
        if peer.resend_due and self._intake.has_room:
            peer.resend_due = not self._send(identity, Resend(expected))
        if peer.stop_due and self._stop_reason is not None:
            peer.stop_due = not self._send(identity, Stop(self._stop_reason))
        self._send_weights(identity, peer)

    def _send_weights(self, identity: bytes, peer: Peer) -> None:
        if self._weights is None or peer.wants_newer_than is None:
            return
        version, payload = self._weights
        if version > peer.wants_newer_than and self._send(identity, Weights(version), payload):
            peer.wants_newer_than = None

    def _send(self, identity: bytes, message: Message, payload: bytes | None = None) -> bool:
        """Whether the message was taken. If not, its peer is slow or gone, and no one waits for it here."""
        frames = [identity, encode(message)] + ([payload] if payload is not None else [])
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=payload is None)
        except zmq.ZMQError as error:
            if error.errno not in (zmq.EAGAIN, zmq.EHOSTUNREACH):
                raise
            return False
        return True
