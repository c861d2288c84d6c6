"""The log of a run for programs: JSON lines in its folder `logs/`, one file for each process, beside what people read.

An entry is what was logged by Python's `logging` or, line by line, printed: `time` (UTC), `level`, `process`, `pid`,
`logger`, `message`, `fields` (given as `extra={"fields": {...}}`) and, of errors, `exception`.
"""

import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO, cast

from journeyman.json_lines import JsonLinesHandler
from journeyman.process import never_fail_to_print
from robot_env.program import WRONG_INPUT
from robot_env.ros.node_log import ROS_LOGGERS

_LINE_LENGTH = 32 << 10

_ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


@contextmanager
def run_log(folder: Path, process: str) -> Iterator[None]:
    """Log what this process does until the block ends; an exception that ends it is the last entry.

    The terminal shows what it showed without: what is printed, and warnings of `logging`. From here on to its end the
    process does not fail for what it cannot print (`never_fail_to_print`).

    Args:
        folder: Where the files are; made when there is something to write. One that cannot be written is told of once.
        process: Name of the file, and who says it: `train`, `learner`, `actor.NAME`, `twin`, `controller`.
    """
    never_fail_to_print()
    stdout, stderr = sys.stdout, sys.stderr
    handler = JsonLinesHandler(folder / f"{process}.jsonl", process, lambda text: _say(stderr, text))
    shown = logging.StreamHandler(
        stderr
    )  # What `logging` does by itself where nobody has given it a handler.
    shown.setLevel(logging.WARNING)
    shown.addFilter(lambda record: not record.name.startswith(f"{ROS_LOGGERS}."))
    root, thread_hook = logging.getLogger(), threading.excepthook
    level = root.level
    root.addHandler(handler)
    root.addHandler(shown)
    root.setLevel(logging.INFO)
    threading.excepthook = _log_death_of_thread
    sys.stdout = cast(TextIO, Tee(stdout, "stdout", logging.INFO, handler))
    sys.stderr = cast(TextIO, Tee(stderr, "stderr", logging.WARNING, handler))
    if folder.parent.is_dir():  # Of a run that is there: what is no run yet may turn out to be wrong input.
        handler.handle(_record("begin", logging.INFO, f"{process} begins.", fields={"command": sys.argv}))
    try:
        with _last_words(handler, folder):
            yield
    finally:
        sys.stdout, sys.stderr, threading.excepthook = stdout, stderr, thread_hook
        root.setLevel(level)
        root.removeHandler(shown)
        root.removeHandler(handler)
        handler.close()


def for_people(stream: TextIO) -> TextIO:
    """A standard stream, for what is drawn rather than said and belongs into no log."""
    return cast(TextIO, getattr(stream, "for_people", stream))


class Tee:
    """A standard stream whose lines are logged as well.

    Lines with escape sequences, which are drawn rather than said, are not logged.

    Args:
        stream: What people read.
        name: Of the logger.
        level: Of the entries.
        handler: Takes them.
    """

    def __init__(self, stream: TextIO, name: str, level: int, handler: logging.Handler) -> None:
        self.for_people = stream
        self._name = name
        self._level = level
        self._handler = handler
        self._begun = threading.local()  # Lines of several threads must not mix.

    def write(self, text: str) -> int:
        """Pass on, and log the lines that end here."""
        self.for_people.write(text)
        *lines, rest = (getattr(self._begun, "line", "") + text).split("\n")
        self._begun.line = _as_seen(rest)[:_LINE_LENGTH]  # Something may draw for hours and never end a line.
        for line in map(_as_seen, lines):
            if line.strip() and "\x1b" not in line:
                self._handler.handle(_record(self._name, self._level, line))
        return len(text)

    def flush(self) -> None:
        """Let people see it."""
        self.for_people.flush()

    def __getattr__(self, name: str) -> Any:
        """Everything else is the stream's own."""
        return getattr(self.for_people, name)


def _as_seen(line: str) -> str:
    """What is left of a line that was drawn over again and again, as progress bars do."""
    return line.rstrip("\r").rpartition("\r")[2]


@contextmanager
def _last_words(handler: logging.Handler, folder: Path) -> Iterator[None]:
    """Log what ends the block; the terminal is told by who catches it."""
    try:
        yield
    except (KeyboardInterrupt, GeneratorExit):
        handler.handle(_record("end", logging.INFO, "Interrupted."))
        raise
    except Exception as error:
        # What has an exit code is said in a sentence (`robot_env.program`); of a defect the traceback is wanted.
        known = hasattr(error, "exit_code") or isinstance(error, OSError)
        info = None if known and error.__cause__ is None else (type(error), error, error.__traceback__)
        # Of a process that never came into being for wrong input no folder is left.
        if folder.is_dir() or getattr(error, "exit_code", None) != WRONG_INPUT:
            handler.handle(_record("end", logging.CRITICAL, f"{type(error).__name__}: {error}", info))
        raise


def _record(
    name: str,
    level: int,
    message: str,
    exception: _ExceptionInfo | None = None,
    fields: dict[str, Any] | None = None,
) -> logging.LogRecord:
    record = logging.LogRecord(name, level, "", 0, "%s", (message,), exception)
    record.fields = fields or {}
    return record


def _log_death_of_thread(hook: threading.ExceptHookArgs) -> None:
    """As Python's own hook, which would print without logging."""
    if hook.exc_type is not SystemExit and hook.exc_value is not None:
        name = hook.thread.name if hook.thread else "?"
        info = (hook.exc_type, hook.exc_value, hook.exc_traceback)
        logging.getLogger("thread").error("Exception in thread %s:", name, exc_info=info)


def _say(stream: TextIO, text: str) -> None:
    with suppress(ValueError):  # Closed: there is nobody left to tell.
        print(text, file=stream, flush=True)
