"""MCAP files of ROS 2 messages that a crash cannot spoil: written one checksummed chunk per instant."""

import io
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from mcap.exceptions import McapError
from mcap.records import Channel, Message, Metadata, Schema
from mcap.stream_reader import StreamReader
from mcap.writer import Writer
from mcap_ros2.decoder import DecoderFactory

from robot_env import mcap_messages

# What reading a damaged file can raise: McapError, CRC and text faults (ValueError), lengths that make no sense.
_DAMAGE = (McapError, ValueError, struct.error, zstandard.ZstdError, OverflowError, MemoryError)


class MessageWriter:
    """Appends messages; `end_chunk` hands what was added to the operating system as a whole.

    Raises:
        OSError: `path` exists or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._stream = path.open("xb")
        # A chunk ends where `end_chunk` says, never by size: what belongs together is read together or not at all.
        self._writer = Writer(self._stream, chunk_size=2**62, enable_data_crcs=True)
        self._writer.start(profile="ros2", library="journeyman")
        self._encoders: dict[str, tuple[int, Callable[[mcap_messages.Message], bytes]]] = {}
        self._channels: dict[str, int] = {}

    def add(
        self, topic: str, type_name: str, message: mcap_messages.Message, stamp_ns: int, sequence: int
    ) -> None:
        """Append a message of a type in `mcap_messages.DEFINITIONS`, stamped in nanoseconds since the Unix epoch."""
        if type_name not in self._encoders:
            definition = mcap_messages.DEFINITIONS[type_name].encode()
            schema = self._writer.register_schema(type_name, "ros2msg", definition)
            self._encoders[type_name] = schema, mcap_messages.encoder(type_name)
        schema, encode = self._encoders[type_name]
        if topic not in self._channels:
            # The ros2 profile demands the key; an empty list lets `ros2 bag play` choose.
            quality = {"offered_qos_profiles": "[]"}
            self._channels[topic] = self._writer.register_channel(topic, "cdr", schema, quality)
        self._writer.add_message(self._channels[topic], stamp_ns, encode(message), stamp_ns, sequence)

    def add_metadata(self, name: str, entries: dict[str, str]) -> None:
        """Append a metadata record."""
        self._writer.add_metadata(name, entries)

    def end_chunk(self) -> None:
        """Everything added so far survives a crash of this process."""
        self._writer.flush()

    def finish(self) -> None:
        """Write index and footer and sync: the file is whole and survives a loss of power."""
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def close(self) -> None:
        """Leave the file as it is."""
        self._stream.close()


class LoggedMessage(NamedTuple):
    """A message as it was logged; `content` has the attributes of the ROS 2 type."""

    type_name: str
    sequence: int
    stamp_ns: int
    content: Any


@dataclass
class MessageLog:
    """What could be read of a file.

    Attributes:
        metadata: Metadata records by name.
        messages: Messages by topic, in file order.
        damage: Why reading ended before the footer; empty for a whole file.
    """

    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    messages: dict[str, list[LoggedMessage]] = field(default_factory=dict)
    damage: str = ""


def read_log(path: Path) -> MessageLog:
    """Everything up to the footer or, in a truncated or damaged file, up to the last intact chunk.

    Raises:
        OSError: The file cannot be opened.
    """
    # From memory, where a nonsensical length cannot make a read allocate more than there is.
    data = path.read_bytes()
    log = MessageLog()
    schemas: dict[int, Schema] = {}
    channels: dict[int, Channel] = {}
    decoders = DecoderFactory()
    reader = StreamReader(io.BytesIO(data), validate_crcs=True, record_size_limit=len(data))
    try:
        for record in reader.records:
            if isinstance(record, Schema):
                schemas[record.id] = record
            elif isinstance(record, Channel):
                channels[record.id] = record
            elif isinstance(record, Metadata):
                log.metadata[record.name] = record.metadata
            elif isinstance(record, Message):
                topic, message = _decoded(record, channels, schemas, decoders)
                log.messages.setdefault(topic, []).append(message)
    except _DAMAGE as error:
        log.damage = str(error) or type(error).__name__
    return log


def _decoded(
    message: Message, channels: dict[int, Channel], schemas: dict[int, Schema], decoders: DecoderFactory
) -> tuple[str, LoggedMessage]:
    """Topic and decoded content of a message record."""
    if message.channel_id not in channels or channels[message.channel_id].schema_id not in schemas:
        raise ValueError(f"message of the unknown channel {message.channel_id}")
    channel = channels[message.channel_id]
    schema = schemas[channel.schema_id]
    decode = decoders.decoder_for(channel.message_encoding, schema)
    if decode is None:
        raise ValueError(f"topic {channel.topic} is not a ROS 2 message in CDR")
    return channel.topic, LoggedMessage(schema.name, message.sequence, message.log_time, decode(message.data))
