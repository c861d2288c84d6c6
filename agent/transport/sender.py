"""The actor's side of the conversation, on a thread of its own: introduces, sends, resends, listens."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import zmq

from agent.config import InputError
from agent.record_log import FrameKind
from agent.storage import is_storage_error
from agent.transport.curve import ClientKeys, secure_client
from agent.transport.liveness import find_dead_connections
from agent.transport.messages import (
    MAX_WEIGHTS_BYTES,
    Acknowledge,
    EpisodeReport,
    FromLearner,
    Goodbye,
    Heartbeat,
    Hello,
    HelloWanted,
    MalformedMessageError,
    Message,
    Refused,
    Resend,
    Stop,
    Transitions,
    Weights,
    WeightsRequest,
    Welcome,
    decode_from_learner,
    encode,
)
from agent.transport.spool import Spool
from agent.transport.waker import Waker

log = logging.getLogger(__name__)

_TICK_MS = 100
_GATHER_MS = 2  # So long a message that could take more waits for it, if another was sent just now.
_TEND_EVERY_S = 0.02
_WINDOW = 8  # unacknowledged messages under way
_QUEUED_MESSAGES = 2 * _WINDOW
_HELLO_EVERY_S = 0.5
_HEARTBEAT_EVERY_S = 1.0
_SILENCE_S = 3.0
_RESEND_AFTER_S = 5.0
_KNOCK_EVERY_S = 5.0


@dataclass
class Told:
    """What the learner has told. Written by the sender thread, read by any; `changed` guards all of it.

    Attributes:
        changed: Notified when any of it changes.
        changes: Counts the changes.
        acknowledged: The learner has all items below this number.
        environment_steps: Transitions it has stored from all actors.
        updates: Critic updates it has made.
        step_allowance: Environment step at which actors in simulated time wait.
        weights: Newest version and payload.
        welcomed: Whether it takes our items now.
        refusal: Why it does not.
        stop_reason: Why it asked us to end.
        heard_s: When it was last heard, on the monotonic clock; at first, when we began to listen.
        served_s: When it was last heard while it took our items.
        error: What ended the sender thread.
    """

    acknowledged: int
    changed: threading.Condition = field(default_factory=threading.Condition)
    changes: int = 0
    environment_steps: int = 0
    updates: int = 0
    step_allowance: int = 0
    weights: tuple[int, bytes] | None = None
    welcomed: bool = False
    refusal: str | None = None
    stop_reason: str | None = None
    heard_s: float = field(default_factory=time.monotonic)
    served_s: float = field(default_factory=time.monotonic)
    error: BaseException | None = None

    def update(self, **values: object) -> None:
        """Change fields together and wake those who wait, if anything differs."""
        with self.changed:
            if any(
                getattr(self, name) is not value and getattr(self, name) != value
                for name, value in values.items()
            ):
                for name, value in values.items():
                    setattr(self, name, value)
                self.changes += 1
                self.changed.notify_all()


class Sender:
    """Sends what is in the spool, from the first item the learner lacks; records what the learner tells."""

    def __init__(
        self,
        address: str,
        keys: ClientKeys | None,
        spool: Spool,
        told: Told,
        hello: Callable[[int, int], Hello],
    ) -> None:
        """Connect and start the thread.

        Args:
            address: Of the learner.
            keys: CURVE keys, if the learner has some.
            spool: What to send.
            told: Where to put what the learner tells.
            hello: Makes the introduction from `oldest_sequence` and `sent_below`.
        """
        self._spool = spool
        self._told = told
        self._hello = hello
        self._sent = told.acknowledged
        self._sent_below = spool.next_sequence
        self._in_flight: deque[int] = deque()
        self._session = b""
        self._weights_version = -1
        self._hello_due_s = self._heartbeat_due_s = self._moved_s = self._knocked_s = time.monotonic()
        self._tend_due_s = self._sent_s = 0.0
        self._gathers = False
        self._address, self._with_keys = address, keys is not None
        self._closing = False
        self._waker = Waker()
        self._context = zmq.Context()
        try:
            self._socket = self._connect(address, keys)
        except BaseException:
            self._context.destroy(linger=0)
            self._waker.close()
            raise
        self._thread = threading.Thread(target=self._run, name="send", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the spool."""
        self._waker.wake()

    def close(self) -> None:
        """Say goodbye and end the thread."""
        self._closing = True
        self._waker.wake()
        self._thread.join()
        self._context.term()
        self._waker.close()

    # All below runs on the sender thread, which alone touches the socket.

    def _connect(self, address: str, keys: ClientKeys | None) -> zmq.Socket[bytes]:
        socket = self._context.socket(zmq.DEALER)
        socket.linger = 500
        socket.immediate = True  # nothing is queued for a learner that is away: the spool does that
        socket.rcvhwm = socket.sndhwm = _QUEUED_MESSAGES
        socket.maxmsgsize = MAX_WEIGHTS_BYTES
        find_dead_connections(socket)
        socket.ipv6 = "[" in address
        socket.reconnect_ivl, socket.reconnect_ivl_max = 100, 1000
        if keys is not None:
            secure_client(socket, keys)
        try:
            socket.connect(address)
        except zmq.ZMQError as error:
            raise InputError(
                f"Address {address!r} cannot be used ({error.strerror}); write it like tcp://127.0.0.1:5555."
            ) from None
        return socket

    def _run(self) -> None:
        try:
            self._converse()
            if self._told.welcomed:
                self._send(Goodbye())
        except BaseException as error:
            if not isinstance(error, InputError):
                log.exception("The sender thread died.")
            self._told.update(error=error, welcomed=False)
        finally:
            self._socket.close()

    def _converse(self) -> None:
        poller = zmq.Poller()
        poller.register(self._socket, zmq.POLLIN)
        poller.register(self._waker, zmq.POLLIN)
        while not self._closing:
            if self._gathers:  # The waker stays signalled: who hands over meanwhile need not wake anybody.
                self._socket.poll(_GATHER_MS)
            else:
                poller.poll(_TICK_MS)
            self._waker.clear()
            self._receive()
            now_s = time.monotonic()
            self._keep_contact(now_s)
            if now_s >= self._tend_due_s or self._spool.lets_send_when_tended:
                self._spool.tend()
                self._tend_due_s = time.monotonic() + _TEND_EVERY_S
            self._gathers = False
            if self._told.welcomed:
                self._send_batches()

    def _receive(self) -> None:
        while True:
            try:
                frames = self._socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self._told.heard_s = time.monotonic()
            if self._told.welcomed:
                self._told.served_s = self._told.heard_s
            try:
                self._handle(*decode_from_learner(frames))
            except MalformedMessageError as error:
                log.warning("Dropped a malformed message of the learner: %s", error)

    def _handle(self, message: FromLearner, payload: bytes) -> None:
        match message:
            case Welcome():
                self._join(message)
            case Refused(reason, temporary):
                self._told.update(welcomed=False, refusal=reason)
                if not temporary:
                    raise InputError(reason)
                self._hello_due_s = time.monotonic() + _HELLO_EVERY_S
            case HelloWanted():
                # Items under way when the learner restarted are each answered like this; one Hello is enough.
                if self._told.welcomed:
                    self._lose_contact("it does not know this connection")
            case Acknowledge():
                self._acknowledge(message)
            case Resend(next_sequence):
                if self._told.acknowledged <= next_sequence <= self._sent_below:
                    self._rewind(next_sequence)
            case Weights(version):
                if version > self._weights_version:
                    self._weights_version = version
                    self._told.update(weights=(version, payload))
                self._send(WeightsRequest(self._weights_version))
            case Stop(reason):
                self._told.update(stop_reason=reason)

    def _join(self, welcome: Welcome) -> None:
        if welcome.stream != self._spool.stream:
            return  # it answers a Hello from before a new stream began
        if welcome.next_sequence > self._sent_below:
            raise MalformedMessageError(f"wants item {welcome.next_sequence} before it was ever sent")
        if welcome.next_sequence < self._spool.oldest_sequence:
            raise MalformedMessageError(f"wants item {welcome.next_sequence}, which a learner had")
        if welcome.session == self._session and welcome.next_sequence < self._told.acknowledged:
            return  # It was overtaken by a later connection's: a learner never has less than before.
        if welcome.session != self._session:
            # Another learner process may have begun from an older checkpoint: its newest weights count.
            self._session, self._weights_version = welcome.session, -1
        if self._spool.run_id == welcome.run_id:
            # The disk may take its time, and the control loop would wait for who holds the lock.
            self._spool.acknowledge(welcome.next_sequence)
        # No one may see the numbers of one stream beside the acknowledgements of another.
        with self._told.changed:
            new_stream = self._enter_run(welcome.run_id)
            if new_stream is None:
                self._hello_due_s = time.monotonic() + _HELLO_EVERY_S
                return
            self._rewind(0 if new_stream else welcome.next_sequence)
            self._spool.acknowledge(self._sent)
            self._told.update(
                welcomed=not new_stream,
                served_s=self._told.heard_s,
                refusal=None,
                acknowledged=self._sent,
                environment_steps=welcome.environment_steps,
                updates=welcome.updates,
                step_allowance=welcome.step_allowance,
            )
        if new_stream:
            self._sent_below = 0
            self._hello_due_s = time.monotonic()
            return
        self._send(WeightsRequest(self._weights_version))

    def _enter_run(self, run_id: bytes) -> bool | None:
        """Whether the welcome was for a stream of another run, and the learner has yet to hear of a new one.

        None if the disk does not take which run it is: nothing can be sent yet.
        """
        try:
            return self._spool.enter_run(run_id)
        except InputError:
            self._send(Goodbye())
            raise
        except OSError as error:
            if not is_storage_error(error):
                raise
            return None

    def _acknowledge(self, message: Acknowledge) -> None:
        if (
            not self._told.welcomed
            or not self._told.acknowledged <= message.next_sequence <= self._sent_below
        ):
            return
        if message.next_sequence > self._told.acknowledged:
            self._moved_s = time.monotonic()
        while self._in_flight and self._in_flight[0] <= message.next_sequence:
            self._in_flight.popleft()
        self._spool.acknowledge(message.next_sequence)  # first: those who are told may be killed at once
        self._told.update(
            acknowledged=message.next_sequence,
            environment_steps=message.environment_steps,
            updates=message.updates,
            step_allowance=message.step_allowance,
        )

    def _rewind(self, sequence: int) -> None:
        """Send from item `sequence` on, whatever was sent before."""
        self._sent = sequence
        self._in_flight.clear()
        self._moved_s = time.monotonic()

    def _keep_contact(self, now_s: float) -> None:
        if self._told.welcomed and now_s - self._told.heard_s > _SILENCE_S:
            self._lose_contact(f"it has been silent for {_SILENCE_S:g} s")
        if not self._told.welcomed and now_s >= self._hello_due_s:
            hello = self._hello(self._spool.oldest_sequence, self._sent_below)
            self._hello_due_s = now_s + (_HELLO_EVERY_S if self._send(hello) else 0.0)
        if self._with_keys and now_s - max(self._told.heard_s, self._knocked_s) > _KNOCK_EVERY_S:
            self._knock(now_s)
        if self._told.welcomed and now_s >= self._heartbeat_due_s:
            self._heartbeat_due_s = now_s + _HEARTBEAT_EVERY_S
            self._send(Heartbeat())
        if self._in_flight and now_s - self._moved_s > _RESEND_AFTER_S:
            self._rewind(self._told.acknowledged)

    def _knock(self, now_s: float) -> None:
        """Connect anew: a client whose key was turned away asks no more, but its key may be listed by now."""
        self._knocked_s = now_s
        with suppress(zmq.ZMQError):  # There may be no connection left.
            self._socket.disconnect(self._address)
        self._socket.connect(self._address)

    def _lose_contact(self, reason: str) -> None:
        log.warning("Lost the learner: %s.", reason)
        self._told.update(welcomed=False)
        self._in_flight.clear()
        self._hello_due_s = time.monotonic()

    def _send_batches(self) -> None:
        while len(self._in_flight) < _WINDOW and self._spool.has_from(self._sent):
            now_s = time.monotonic()
            if now_s < self._sent_s + _GATHER_MS / 1e3 and not self._spool.fills_message(self._sent):
                self._gathers = True
                return
            batch = self._spool.next_batch(self._sent)
            assert batch is not None
            self._sent_s = now_s
            if batch.kind is FrameKind.RECORDS:
                message: Message = Transitions(self._spool.stream, batch.first_sequence, batch.items)
            else:
                message = EpisodeReport(self._spool.stream, batch.first_sequence)
            if not self._send(message, batch.payload):
                return
            self._sent += batch.items
            self._sent_below = max(self._sent_below, self._sent)
            self._in_flight.append(self._sent)

    def _send(self, message: Message, payload: bytes | memoryview | None = None) -> bool:
        """Whether the message was taken; if not, the learner is away and contact will be lost soon."""
        frames: list[bytes | memoryview] = [encode(message)]
        if payload is not None:
            frames.append(payload)
        try:
            self._socket.send_multipart(frames, zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        return True
