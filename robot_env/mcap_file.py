"""MCAP files of ROS 2 messages that a crash cannot spoil: written one checksummed chunk per instant.

MCAP itself protects messages by a checksum per chunk, but metadata only by one over the whole data section, which an
unfinished file lacks. So metadata records written here carry a checksum of their own, and a finished file says how
many messages each topic has. Files without either, from elsewhere, are read as far as MCAP protects them.
"""

import io
import json
import os
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import zstandard
from mcap.exceptions import EndOfFile, McapError
from mcap.records import Channel, Chunk, DataEnd, Footer, McapRecord, Message, Metadata, Schema
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import Writer

from robot_env import mcap_messages

# What reading a damaged file can raise: McapError, CRC and text faults (ValueError), lengths that make no sense.
_DAMAGE = (
    McapError,
    ValueError,
    IndexError,
    struct.error,
    zstandard.ZstdError,
    RuntimeError,  # LZ4's.
    OverflowError,
    MemoryError,
)
BREAKS_OFF = "it breaks off"
"""What is wrong with a file that a crash left, or that was cut."""

_CHECKSUM = "crc32"
_COUNTS_RECORD = "journeyman.counts"
# Unpacked, a file may be this much larger. Recordings stay below 10, as their indices are not packed; what claims
# more is damaged, or made to exhaust memory.
_LARGEST_EXPANSION, _ALWAYS_ALLOWED_BYTES = 64, 2**24


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
        self._counts = Counter[str]()

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
        self._counts[topic] += 1

    def add_metadata(self, name: str, entries: Mapping[str, str]) -> None:
        """Append a metadata record."""
        # The checksum first: a shortened record then loses entries before it loses what tells of them.
        self._writer.add_metadata(name, {_CHECKSUM: _checksum(name, entries), **entries})

    def end_chunk(self) -> None:
        """Everything added so far survives a crash of this process."""
        self._writer.flush()

    def finish(self) -> None:
        """Write index and footer and sync: the file is whole and survives a loss of power."""
        self.add_metadata(_COUNTS_RECORD, {topic: str(count) for topic, count in self._counts.items()})
        self._writer.finish()
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def close(self) -> None:
        """Leave the file as it is."""
        self._stream.close()


class LoggedMessage(NamedTuple):
    """A message as it was logged.

    Attributes:
        type_name: The ROS 2 type.
        sequence: As its sender counted.
        stamp_ns: When it was logged, nanoseconds since the Unix epoch.
        content: Has the attributes of the type; None for a type that is not in `mcap_messages.DEFINITIONS`.
    """

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
        counts: How many messages of each topic the file itself says that it has; empty where it does not say.
        damage: Why reading ended before the footer, or what is missing; empty for a whole file.
    """

    metadata: dict[str, dict[str, str]] = field(default_factory=dict)
    messages: dict[str, list[LoggedMessage]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    damage: str = ""


def read_log(path: Path) -> MessageLog:
    """Everything up to the footer or, in a truncated or damaged file, up to the last intact chunk.

    Raises:
        OSError: The file cannot be opened.
    """
    # From memory, where a nonsensical length cannot make a read allocate more than there is.
    data = path.read_bytes()
    reading = _Reading(_ALWAYS_ALLOWED_BYTES + _LARGEST_EXPANSION * len(data))
    reader = StreamReader(io.BytesIO(data), emit_chunks=True, validate_crcs=True, record_size_limit=len(data))
    try:
        for record in reader.records:
            reading.take(record)
        reading.check_counts()
    except EndOfFile:
        reading.log.damage = BREAKS_OFF
    except _DAMAGE as error:
        reading.log.damage = str(error) or type(error).__name__
    return reading.log


class _Reading:
    """Puts a log together from records in file order.

    Args:
        allowance_bytes: How much chunks may unpack to, all together.
    """

    def __init__(self, allowance_bytes: int) -> None:
        self.log = MessageLog()
        self._allowance_bytes = allowance_bytes
        self._schemas: dict[int, Schema] = {}
        self._channels: dict[int, Channel] = {}
        self._has_ended = False

    def take(self, record: McapRecord) -> None:
        """Take in one record; a fault in it is one of `_DAMAGE`."""
        if isinstance(record, Footer) and not self._has_ended:
            raise ValueError("its data have no end")
        if self._has_ended:
            return  # The summary repeats what was said.
        if isinstance(record, DataEnd):
            self._has_ended = True
        elif isinstance(record, Metadata):
            self._take_metadata(record)
        elif isinstance(record, Chunk):
            for inner in self._unpacked(record):
                self._take_inner(inner)
        elif isinstance(record, Message):
            raise ValueError("a message outside of a chunk, where nothing protects it")

    def check_counts(self) -> None:
        """Refuse a file whose topics have other numbers of messages than it says."""
        log = self.log
        if not log.counts:
            return
        for topic in sorted({*log.counts, *log.messages}):
            found, wanted = len(log.messages.get(topic, ())), log.counts.get(topic, 0)
            if found != wanted:
                raise ValueError(f"topic {topic} has {found} of its {wanted} messages")

    def _take_metadata(self, record: Metadata) -> None:
        entries = dict(record.metadata)
        checksum = entries.pop(_CHECKSUM, None)
        if checksum is not None and checksum != _checksum(record.name, entries):
            raise ValueError(f"the checksum of metadata record {record.name!r} does not fit")
        if record.name == _COUNTS_RECORD:
            self.log.counts = {topic: int(count) for topic, count in entries.items()}
        else:
            self.log.metadata[record.name] = entries

    def _unpacked(self, chunk: Chunk) -> list[McapRecord]:
        """The records in a chunk, its length judged before anything is unpacked."""
        size = chunk.uncompressed_size
        if chunk.compression == "zstd" and zstandard.frame_content_size(chunk.data) not in (-1, size):
            raise ValueError("a chunk is not as long as it says")
        self._allowance_bytes -= size
        if self._allowance_bytes < 0:
            raise ValueError(f"a chunk of {size} bytes is more than a recording of this length can hold")
        records: list[McapRecord] = breakup_chunk(chunk, validate_crc=True)
        return records

    def _take_inner(self, record: McapRecord) -> None:
        if isinstance(record, Schema):
            self._schemas[record.id] = record
        elif isinstance(record, Channel):
            self._channels[record.id] = record
        elif isinstance(record, Message):
            channel = self._channels.get(record.channel_id)
            schema = self._schemas.get(channel.schema_id) if channel else None
            if channel is None or schema is None:
                raise ValueError(f"message of the unknown channel {record.channel_id}")
            content = None
            if schema.name in mcap_messages.DEFINITIONS and channel.message_encoding == "cdr":
                # By our definition, not by the file's: a type means the same in every file.
                content = mcap_messages.decoder(schema.name)(record.data)
            message = LoggedMessage(schema.name, record.sequence, record.log_time, content)
            self.log.messages.setdefault(channel.topic, []).append(message)


def _checksum(name: str, entries: Mapping[str, str]) -> str:
    """CRC-32 of a metadata record, its name included, in hexadecimal digits."""
    return f"{zlib.crc32(json.dumps([name, sorted(entries.items())]).encode()):08x}"
