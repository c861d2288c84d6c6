"""What fuzzing found, one by one: damage that ended in a traceback, or asked for memory that nobody has."""

import json
import resource
import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from agent.checkpoint import Checkpoints, load_checkpoint, load_policy
from agent.config import InputError
from agent.record_log import FrameKind, RecordLog
from journeyman.wiring import stored_reports

DTYPE = np.dtype([("x", np.float32)])
TENSORS = {"x": torch.zeros(2)}


@pytest.mark.parametrize(
    "content",
    [
        b"\xff{}",
        b"[]",
        b"7",
        b"null",
        b"",
        b"[" * 100_000,
        b'{"format_version": ' + b"9" * 5000 + b"}",
        b'{"format_version": NaN}',
    ],
)
@pytest.mark.parametrize("load", [load_checkpoint, load_policy])
def test_values_of_a_checkpoint(tmp_path, content, load):
    path = Checkpoints(tmp_path).save(3, TENSORS, TENSORS, {})
    (path / "state.json").write_bytes(content)
    with pytest.raises(InputError, match=r"is damaged|has format version") as caught:
        load(path)
    assert len(str(caught.value).splitlines()) == 1


def test_a_head_that_announces_4_gb_is_refused_for_nothing(tmp_path):
    path = tmp_path / "replay.log"
    RecordLog.open(path, DTYPE).close()
    content = bytearray(path.read_bytes())
    content[12:16] = struct.pack("<I", 0xFFFFFFF0)
    path.write_bytes(content)
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    used = 4096 * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 30), hard))
    try:
        with pytest.raises(InputError, match=r"head of .* is damaged"):
            RecordLog.open(path, DTYPE)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.parametrize("layout", [b"[]", b'{"x": 1}', b"nonsense", b"\xff"])
def test_a_head_that_is_whole_and_none(tmp_path, layout):
    import zlib

    path = tmp_path / "replay.log"
    path.write_bytes(struct.pack("<8sIII", b"JMRECLOG", 1, len(layout), zlib.crc32(layout)) + layout)
    with pytest.raises(InputError, match="is none"):
        RecordLog.open(path, DTYPE)


@pytest.mark.parametrize("count", [0, 2, 1 << 31])
def test_a_report_that_counts_for_several(tmp_path, count):
    """A spool would look for the others, and its sender thread die."""
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    log.append_raw(FrameKind.REPORT, b"\x80", count)
    log.close()
    with pytest.raises(InputError, match=f"a report counts for {count} items"):
        RecordLog.open(tmp_path / "replay.log", DTYPE)


def test_a_report_that_is_none(tmp_path):
    log = RecordLog.open(tmp_path / "replay.log", DTYPE)
    log.append_raw(FrameKind.REPORT, b"\xc1", 1)
    with pytest.raises(InputError, match="holds a report that cannot be read"):
        stored_reports(log)
    log.close()


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": None},
        {"blocks": "7"},
        {"blocks": -1},
        {"environment_steps": 0.5},
        {"sampler_random_state": {}},
        {"sampler_random_state": None},
    ],
)
def test_a_learner_goes_on_from_nothing_that_does_not_fit(tmp_path, change):
    from bench.fuzz_files import make_kinds

    (kind,) = [kind for kind in make_kinds(tmp_path / "valid") if kind.name == "checkpoint"]
    path = next((kind.folder / "checkpoints").iterdir()) / "state.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(InputError, match="does not fit this run, or is damaged"):
        kind.read(kind.folder)
