"""The wire format: everything that actor and learner say to each other.

A message is one msgpack frame, tagged with its type; some types are followed by one raw frame, the payload.
An actor's transitions and reports are *items*, numbered in one stream that outlives the actor's process.
There is no pickle: decoding yields the types below or `MalformedMessageError`, whatever the bytes are.
"""

from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
import numpy as np

PROTOCOL_VERSION = 2

BATCH_BYTES = 1 << 20
"""How much payload an actor puts into one message, unless a single record is larger."""
MAX_REPORT_BYTES = 1 << 18
MAX_HEAD_BYTES = 1 << 18
MAX_WEIGHTS_BYTES = 1 << 30

Buffer: TypeAlias = bytes | memoryview
_B = TypeVar("_B", bytes, Buffer)
Scalar: TypeAlias = bool | int | float | str | None
Report: TypeAlias = dict[str, Scalar | list[Scalar] | dict[str, Scalar]]
"""Plain values an actor tells about an episode or an evaluation."""

IDENTITY_BYTES = 16

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Identity = Annotated[bytes, msgspec.Meta(min_length=IDENTITY_BYTES, max_length=IDENTITY_BYTES)]
Number = Annotated[int, msgspec.Meta(ge=0, lt=1 << 62)]
Count = Annotated[int, msgspec.Meta(ge=1, lt=1 << 31)]
Version = Annotated[int, msgspec.Meta(ge=-1, lt=1 << 62)]


class Message(msgspec.Struct, frozen=True, tag=True):
    """Base of all messages; the tag is the name of the type."""


# From the actor ---------------------------------------------------------------------------------------------


class Hello(Message, frozen=True):
    """First message on every connection, and again after silence. Fields may only ever be added.

    Attributes:
        protocol_version: `PROTOCOL_VERSION` of the actor.
        actor: Its name.
        stream: What its numbers count.
        spec: Layout of its records.
        task: Description of its task.
        oldest_sequence: Number of the first item it can still send.
        sent_below: No item from this number on has ever been sent.
        process: Differs from one process that sends the stream to the next; zeros of an actor that does not say.
    """

    protocol_version: int
    actor: Name
    stream: Identity
    spec: dict[str, str]
    task: dict[str, str]
    oldest_sequence: Number
    sent_below: Number
    process: Identity = bytes(IDENTITY_BYTES)


class Transitions(Message, frozen=True):
    """Items `first_sequence` to `first_sequence + count - 1`; the payload holds their records."""

    stream: Identity
    first_sequence: Number
    count: Count


class EpisodeReport(Message, frozen=True):
    """Item `first_sequence`; the payload is the report."""

    stream: Identity
    first_sequence: Number


class WeightsRequest(Message, frozen=True):
    """Send weights as soon as there are newer ones than version `newer_than`."""

    newer_than: Version


class Heartbeat(Message, frozen=True):
    """The actor lives; answered by `Acknowledge`."""


class Goodbye(Message, frozen=True):
    """The actor ends; its name is free."""


# From the learner -------------------------------------------------------------------------------------------


class Welcome(Message, frozen=True):
    """The actor may send, beginning with item `next_sequence`.

    Attributes:
        run_id: The run that the learner works for, the same for all processes of it.
        stream: Of the `Hello` that this answers.
        next_sequence: First item of the stream that is not stored.
        environment_steps: Transitions stored from all actors.
        updates: Critic updates made.
        step_allowance: Environment step at which actors in simulated time wait.
        session: Differs from one learner process to the next: weight versions may start again.
    """

    run_id: Identity
    stream: Identity
    next_sequence: Number
    environment_steps: Number
    updates: Number
    step_allowance: Number
    session: Identity


class Refused(Message, frozen=True):
    """The actor may not send.

    Attributes:
        reason: One sentence for a person.
        temporary: Whether asking again may help.
    """

    reason: str
    temporary: bool


class HelloWanted(Message, frozen=True):
    """The learner does not know this connection: it restarted, or had not heard from the actor for long."""


class Acknowledge(Message, frozen=True):
    """All items below `next_sequence` are stored; also carries the learner's progress (see `Welcome`)."""

    next_sequence: Number
    environment_steps: Number
    updates: Number
    step_allowance: Number


class Resend(Message, frozen=True):
    """Items from `next_sequence` on were not stored and are to be sent again."""

    next_sequence: Number


class Weights(Message, frozen=True):
    """The payload holds weights of this version."""

    version: Version


class Stop(Message, frozen=True):
    """The actor is to end."""

    reason: str


FromActor: TypeAlias = Hello | Transitions | EpisodeReport | WeightsRequest | Heartbeat | Goodbye
FromLearner: TypeAlias = Welcome | Refused | HelloWanted | Acknowledge | Resend | Weights | Stop


class MalformedMessageError(ValueError):
    """What arrived is no message of this protocol; it is dropped and counted."""


def _plain(value: Any) -> Any:
    """NumPy's scalars are plain values to those who report them."""
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a {type(value).__name__} is no number, text or boolean")


_encoder = msgspec.msgpack.Encoder(enc_hook=_plain)
_from_actor = msgspec.msgpack.Decoder(FromActor)
_from_learner = msgspec.msgpack.Decoder(FromLearner)
_report = msgspec.msgpack.Decoder(Report)


def encode(message: Message) -> bytes:
    """The message's first frame."""
    return _encoder.encode(message)


def decode_from_actor(frames: Sequence[Buffer]) -> tuple[FromActor, Buffer]:
    """Message and payload (empty where the type has none).

    Raises:
        MalformedMessageError: These frames are no message of an actor.
    """
    message = _message(_from_actor, frames)
    return message, _payload(frames, has_payload=isinstance(message, Transitions | EpisodeReport))


def decode_from_learner(frames: Sequence[bytes]) -> tuple[FromLearner, bytes]:
    """Message and payload (empty where the type has none).

    Raises:
        MalformedMessageError: These frames are no message of a learner.
    """
    message = _message(_from_learner, frames)
    return message, _payload(frames, has_payload=isinstance(message, Weights))


def encode_report(values: Report) -> bytes:
    """A report as it lies in spool and log.

    Raises:
        ValueError: The values are not plain, or too large.
    """
    try:
        encoded = _encoder.encode(values)
        _report.decode(encoded)
    except (msgspec.MsgspecError, TypeError) as error:
        raise ValueError(f"Report {values!r} is not made of plain values: {error}.") from error
    if len(encoded) > MAX_REPORT_BYTES:
        raise ValueError(f"A report of {len(encoded)} bytes is too large; {MAX_REPORT_BYTES} are allowed.")
    return encoded


def decode_report(encoded: bytes | memoryview) -> Report:
    """Inverse of `encode_report`.

    Raises:
        MalformedMessageError: These bytes are no report.
    """
    if len(encoded) > MAX_REPORT_BYTES:
        raise MalformedMessageError(f"report of {len(encoded)} bytes")
    return _decode(_report, encoded)


def _message(decoder: msgspec.msgpack.Decoder, frames: Sequence[Buffer]) -> Any:
    if not frames or len(frames[0]) > MAX_HEAD_BYTES:
        raise MalformedMessageError("no first frame of acceptable size")
    return _decode(decoder, frames[0])


def _decode(decoder: msgspec.msgpack.Decoder, encoded: bytes | memoryview) -> Any:
    try:
        return decoder.decode(encoded)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedMessageError(str(error)) from None


def _payload(frames: Sequence[_B], *, has_payload: bool) -> _B | bytes:
    if len(frames) != 1 + has_payload:
        raise MalformedMessageError(f"{len(frames)} frames instead of {1 + has_payload}")
    return frames[1] if has_payload else b""
