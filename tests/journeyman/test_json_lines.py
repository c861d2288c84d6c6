"""Entries are whole lines of JSON, whatever the disk does."""

import json
import logging
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journeyman import json_lines
from journeyman.json_lines import JsonLinesHandler


def entries(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def record(message, /, *, at_level=logging.INFO, **fields):
    made = logging.LogRecord("a.logger", at_level, "", 0, "%s", (message,), None)
    made.fields = fields
    return made


@pytest.fixture
def told():
    return []


@pytest.fixture
def open_log(tmp_path, told):
    """A log in `logs/`, closed at the end."""
    made = []

    def make(path=tmp_path / "logs/learner.jsonl"):
        made.append(JsonLinesHandler(path, "learner", told.append))
        return made[-1]

    yield make
    for handler in made:
        handler.close()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.just(object()),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers() | st.tuples(), inner),
)


@settings(max_examples=25)
@given(
    messages=st.lists(st.text(st.characters(codec=None)) | st.text()),
    fields=st.dictionaries(st.text(), ANYTHING),
)
def test_whatever_is_logged_is_one_line_of_json(tmp_path_factory, messages, fields):
    path = tmp_path_factory.mktemp("run") / "learner.jsonl"
    handler = JsonLinesHandler(path, "learner", pytest.fail)
    for message in messages:
        handler.handle(record(message, **fields))
    handler.close()
    found = entries(path) if messages else []
    assert [e["message"].encode() for e in found] == [m.encode("utf-8", "backslashreplace") for m in messages]
    keys = {"time", "level", "process", "pid", "logger", "message", "fields"}
    assert all(e.keys() == keys and e["process"] == "learner" and e["pid"] == os.getpid() for e in found)


def test_time_is_utc_and_an_exception_is_there(open_log, tmp_path):
    handler = open_log()
    try:
        raise ValueError("no")
    except ValueError as error:
        made = record("broken", at_level=logging.ERROR)
        made.exc_info = (type(error), error, error.__traceback__)
    made.created = 1_800_000_000.25
    handler.handle(made)
    handler.close()
    (entry,) = entries(tmp_path / "logs/learner.jsonl")
    assert entry["time"] == "2027-01-15T08:00:00.250000+00:00"
    assert entry["level"] == "ERROR"
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ValueError: no")


def test_a_line_is_there_while_the_process_lives(open_log, tmp_path, wait_until):
    open_log().handle(record("now"))
    path = tmp_path / "logs/learner.jsonl"
    assert wait_until(lambda: path.exists() and entries(path))[0]["message"] == "now"


def test_a_torn_line_of_a_killed_process_is_cut(open_log, tmp_path):
    path = tmp_path / "logs/learner.jsonl"
    path.parent.mkdir()
    path.write_text('{"message": "old"}\n{"messa')
    handler = open_log()
    handler.handle(record("new"))
    handler.close()
    assert [e["message"] for e in entries(path)] == ["old", "new"]


def test_files_are_bounded_and_the_newest_stay(open_log, tmp_path, monkeypatch):
    monkeypatch.setattr(json_lines, "FILE_BYTES", 2000)
    handler = open_log()
    for number in range(200):
        handler.handle(record("x" * 50, number=number))
    handler.close()
    files = sorted((tmp_path / "logs").iterdir())
    assert [f.name for f in files] == ["learner.jsonl", *(f"learner.jsonl.{n}" for n in (1, 2, 3))]
    assert all(f.stat().st_size <= 2000 for f in files)
    numbers = [e["fields"]["number"] for f in [*files[:0:-1], files[0]] for e in entries(f)]
    assert numbers == list(range(200 - len(numbers), 200))


class Disk:
    """Takes so many bytes and then no more, as a full disk does: the last write is done in part."""

    def __init__(self, room):
        self.room = room
        self.write_for_real = os.write

    def writev(self, descriptor, parts):
        return self.write(descriptor, b"".join(parts))

    def write(self, descriptor, data):
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        taken = self.write_for_real(descriptor, data[: self.room])
        self.room -= taken
        return taken


def test_a_full_disk_is_told_once_tears_no_line_and_what_is_missing_is_counted(
    open_log, tmp_path, told, monkeypatch, wait_until
):
    monkeypatch.setattr(json_lines, "_RETRY_S", 0.0)
    disk = Disk(room=500)
    monkeypatch.setattr(os, "write", disk.write)
    monkeypatch.setattr(os, "writev", disk.writev)
    handler = open_log()
    for number in range(20):
        handler.handle(record("hello", number=number))
    wait_until(lambda: handler._waiting.empty() and handler._lost)
    path = tmp_path / "logs/learner.jsonl"
    before = entries(path)
    wait_until(lambda: handler._lost == 20 - len(before))
    assert 0 < len(before) < 20
    disk.room = 10**6
    handler.handle(record("room again"))
    handler.close()
    *kept, missing, last = entries(path)
    assert kept == before
    assert missing["fields"] == {"lost": 20 - len(before)}
    assert last["message"] == "room again"
    (sentence,) = told
    assert "learner.jsonl" in sentence
    assert "No space left on device" in sentence


def test_a_folder_that_cannot_be_made_is_told_once(open_log, tmp_path, told):
    (tmp_path / "file").write_text("in the way")
    handler = open_log(tmp_path / "file/logs/learner.jsonl")
    for _ in range(5):
        handler.handle(record("hello"))
    handler.close()
    assert len(told) == 1


def test_who_logs_does_not_wait_for_a_disk_that_hangs(open_log, tmp_path, monkeypatch):
    hangs = threading.Event()
    monkeypatch.setattr(json_lines, "_MOST_WAITING", 100)
    monkeypatch.setattr(json_lines._BoundedFile, "append", lambda *_: hangs.wait())
    handler = open_log()
    for _ in range(1000):
        handler.handle(record("hello"))
    assert handler._lost >= 899  # Memory is bounded, too.
    hangs.set()
