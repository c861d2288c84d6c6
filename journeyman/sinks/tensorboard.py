"""Event files for TensorBoard, in the folder `tensorboard/` of the run. One file for each process that wrote any.

Not `tensorboardX.SummaryWriter`: its thread dies of a full disk, and then whoever writes waits for it for ever.
"""

import os
import time
from pathlib import Path
from typing import Any

from journeyman.sinks.config import SinkOptions, read_sink_options
from journeyman.sinks.sink import Sink, Values


class TensorBoardOptions(SinkOptions):
    """How event files are written.

    Attributes:
        flush_every_s: What was written is on disk after so long, whatever happens to the process.
    """

    flush_every_s: float = 10.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.0 <= self.flush_every_s < 3600.0:
            raise ValueError(f"flush_every_s {self.flush_every_s} must lie between 0 and 3600")


class TensorBoardSink:
    """Implements `Sink`.

    Args:
        options: How to write.
        folder: Where to; it is made.
    """

    def __init__(self, options: TensorBoardOptions, folder: Path) -> None:
        self._options = options
        self._folder = folder
        self._flush_due_s = 0.0

    def open(self) -> None:
        """Begin a file.

        Raises:
            ImportError: tensorboardX is not installed.
            OSError: The folder cannot be written.
        """
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary

        self._folder.mkdir(parents=True, exist_ok=True)
        self._event, self._summary = Event, Summary
        # The process in its name: one that is started again within the second must not write over it.
        self._writer = EventsWriter(str(self._folder / "events"), f".{os.getpid()}")

    def write(self, step: int, values: Values) -> None:
        """Append one event with all values."""
        summary = self._summary(
            value=[self._summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        )
        self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=summary))
        now_s = time.monotonic()
        if now_s >= self._flush_due_s:
            self._writer.flush()
            self._flush_due_s = now_s + self._options.flush_every_s

    def close(self) -> None:
        """Put everything on disk."""
        self._writer.close()


def make(config: dict[str, Any], run: Path, process: str) -> Sink:
    """What `sink.tensorboard.factory` names.

    Raises:
        InputError: The configuration is not understood.
    """
    return TensorBoardSink(read_sink_options(config, TensorBoardOptions, "tensorboard"), run / "tensorboard")
