"""The actor's side: the control loop hands over and goes on, whatever the network does."""

import os
import time
from pathlib import Path

from agent.config import InputError
from agent.transition import Records, TransitionSpec
from agent.transport.curve import ClientKeys, check_exposure
from agent.transport.messages import IDENTITY_BYTES, PROTOCOL_VERSION, Hello, Report
from agent.transport.sender import Sender, Told
from agent.transport.spool import DEFAULT_LIMITS, Spool, SpoolLimits

# A write takes microseconds; a disk that is being flushed holds one up for half a second, which no robot waits for.
_PATIENCE_S = 0.01


class ActorClient:
    """Hands transitions and reports to the learner exactly once each, and takes its newest weights.

    What is handed over outlives this process when `send` returns, in memory of the system or, without that, on disk,
    unless the disk takes longer than a control period has time for. It goes out from the disk, again and again until
    the learner has stored it, be it from the next process that opens the same spool. A learner of another run gets
    none of it: its run begins with a new stream. All methods may be called from any thread.
    """

    def __init__(
        self,
        address: str,
        actor: str,
        spec: TransitionSpec,
        task: dict[str, str],
        spool_directory: Path,
        *,
        keys: ClientKeys | None = None,
        limits: SpoolLimits = DEFAULT_LIMITS,
    ) -> None:
        """Open the spool and begin to call the learner, which need not be there yet.

        Args:
            address: Of the learner, like `tcp://127.0.0.1:5555`.
            actor: Name, unique among the learner's actors.
            spec: Layout of transitions.
            task: Description of the task; compared with the learner's.
            spool_directory: Belongs to this actor alone and outlives it.
            keys: CURVE keys; needed for every address that is not loopback.
            limits: How much may wait for the learner.

        Raises:
            InputError: The address or the spool cannot be used.
        """
        check_exposure(address, keys)
        self._address = address
        self._spool = Spool(
            spool_directory,
            spec.dtype,
            limits=limits,
            patience_s=_PATIENCE_S,
            staged=not limits.sync,
            on_written=self._wake_sender,
        )
        self._sender: Sender | None = None
        self._told = Told(acknowledged=self._spool.acknowledged)
        self._seen_changes = 0
        self._taken_weights: tuple[int, bytes] | None = None
        self._closed = False
        process = os.urandom(IDENTITY_BYTES)

        def hello(oldest_sequence: int, sent_below: int) -> Hello:
            what = self._spool.stream, spec.description(), task
            return Hello(PROTOCOL_VERSION, actor, *what, oldest_sequence, sent_below, process)

        try:
            self._sender = Sender(address, keys, self._spool, self._told, hello)
        except BaseException:
            self._spool.close()
            raise

    def wait_welcome(self, timeout_s: float) -> None:
        """Wait until the learner takes this actor.

        Raises:
            InputError: It refuses, nobody answers, or the spool holds items of another run.
        """
        told = self._told
        with told.changed:
            told.changed.wait_for(lambda: told.welcomed or told.error is not None, timeout_s)
        self.raise_if_dead()
        if not told.welcomed:
            raise InputError(
                told.refusal
                or f"No learner answered at {self._address} within {timeout_s:g} s; "
                "check the address, the keys if there are any, and that the learner runs."
            )

    def send(self, records: Records) -> None:
        """Hand over transitions, shape (N,), in order.

        Raises:
            InputError: The learner refused this actor for good.
            RuntimeError: The sender thread is dead.
        """
        if self._told.error is not None:
            self.raise_if_dead()
        self._spool.append(records)

    def report(self, values: Report) -> None:
        """Hand over plain values about an episode or an evaluation, in order with the transitions.

        Raises:
            ValueError: The values are not plain.
        """
        self.raise_if_dead()
        self._spool.append_report(values)

    def latest_weights(self) -> tuple[int, bytes] | None:
        """Newest version and payload, None if there are none newer than at the last call."""
        weights = self._told.weights
        if weights is self._taken_weights:
            return None
        self._taken_weights = weights
        return weights

    def wait(self, timeout_s: float) -> bool:
        """Wait until the learner has told something since the last `wait`; return whether it has."""
        told = self._told
        with told.changed:
            changed = told.changed.wait_for(lambda: told.changes != self._seen_changes, timeout_s)
            self._seen_changes = told.changes
        return changed

    def flush(self, timeout_s: float) -> bool:
        """Wait until the learner has stored everything handed over so far; return whether it has."""
        told, spool = self._told, self._spool
        with told.changed:
            stream, target = spool.stream, spool.next_sequence

            def stored() -> bool:
                # A new stream begins only when all of the one before is stored.
                return told.acknowledged >= target or spool.stream != stream

            told.changed.wait_for(lambda: stored() or told.error is not None, timeout_s)
            return stored()

    @property
    def stream(self) -> bytes:
        """What its items are numbered under: another one for each run, once a learner has welcomed it."""
        return self._spool.stream

    @property
    def next_sequence(self) -> int:
        """Items handed over since the stream began, in earlier processes of the run too."""
        return self._spool.next_sequence

    @property
    def unacknowledged(self) -> int:
        """Transitions handed over that the learner is not known to have stored."""
        with self._told.changed:
            return self._spool.records_from(self._told.acknowledged)

    @property
    def environment_steps(self) -> int:
        """Transitions the learner has stored from all actors, as far as it has told."""
        return self._told.environment_steps

    @property
    def known_steps(self) -> int:
        """`environment_steps` and `unacknowledged` together, as of one moment."""
        with self._told.changed:
            return self._told.environment_steps + self._spool.records_from(self._told.acknowledged)

    @property
    def updates(self) -> int:
        """Critic updates the learner has made, as far as it has told."""
        return self._told.updates

    @property
    def step_allowance(self) -> int:
        """Environment step at which actors in simulated time wait for the learner."""
        return self._told.step_allowance

    @property
    def connected(self) -> bool:
        """Whether the learner takes this actor's items now."""
        return self._told.welcomed

    @property
    def seconds_since_contact(self) -> float:
        """Time since the learner that takes this actor's items was last heard; at first, since this client was made."""
        return time.monotonic() - self._told.served_s

    @property
    def refusal(self) -> str | None:
        """Why the learner does not take this actor's items, as far as it has told; None if it does, or is not there."""
        return self._told.refusal

    @property
    def no_room(self) -> str | None:
        """Why nothing more should be handed over now, in a sentence; None while there is room.

        What is handed over all the same is not lost, unless this process dies before the disk takes it. Who asks right
        after a hand-over waits for the disk, as long as a control period has time for that.
        """
        self._spool.settle()
        return self._spool.no_room

    @property
    def stop_requested(self) -> bool:
        """Whether the learner asked its actors to end."""
        return self._told.stop_reason is not None

    @property
    def stop_reason(self) -> str | None:
        """Why it asked."""
        return self._told.stop_reason

    def raise_if_dead(self) -> None:
        """Raise what ended the sender thread, if anything did: nothing is sent any more.

        Raises:
            InputError: The learner refused this actor for good.
            RuntimeError: With the error as its cause.
        """
        error = self._told.error
        if isinstance(error, InputError):
            raise InputError(str(error))
        if error is not None:
            raise RuntimeError(f"The sender thread died: {error!r}.") from error

    def close(self) -> None:
        """Leave; idempotent. What is not yet stored stays in the spool for the next process."""
        if self._closed:
            return
        self._closed = True
        if self._sender is not None:
            self._sender.close()
        self._spool.close()

    def _wake_sender(self) -> None:
        if self._sender is not None:
            self._sender.wake()
