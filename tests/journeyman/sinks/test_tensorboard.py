"""Event files are read back."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import InputError
from journeyman.sinks.sink import Outlets
from journeyman.sinks.tensorboard import make

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2")


def read_events(path):
    """Scalars of an event file (TFRecord: length, its checksum, an event, its checksum)."""
    content, place, points = path.read_bytes(), 0, []
    while place < len(content):
        (length,) = struct.unpack_from("<Q", content, place)
        event = event_pb2.Event.FromString(content[place + 12 : place + 12 + length])
        place += 12 + length + 4
        points += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    assert place == len(content)
    return points


@settings(max_examples=25)
@given(
    points=st.lists(
        st.tuples(
            st.integers(0, 2**40),
            st.dictionaries(
                st.sampled_from(["learner/a", "e.b/c", "ü"]), st.floats(width=32, allow_nan=False)
            ),
        )
    )
)
def test_what_is_written_is_read(tmp_path_factory, points):
    run = tmp_path_factory.mktemp("run")
    outlets = Outlets({"tensorboard": make({}, run, "learner")}, pytest.fail)
    for step, values in points:
        outlets.write(step, values)
    outlets.close()
    (path,) = (run / "tensorboard").iterdir()
    assert read_events(path) == [(s, name, value) for s, values in points for name, value in values.items()]


def test_it_is_on_disk_while_the_run_goes_on(tmp_path, wait_until):
    outlets = Outlets({"tensorboard": make({"flush_every_s": 0}, tmp_path, "learner")}, pytest.fail)
    outlets.write(5, {"learner/updates": 20.0})
    (path,) = wait_until(lambda: list(tmp_path.glob("tensorboard/*")))
    wait_until(lambda: path.stat().st_size > 50)
    assert read_events(path) == [(5, "learner/updates", 20.0)]
    outlets.close()


def test_a_folder_that_cannot_be_written_ends_the_sink_and_nothing_else(tmp_path):
    (tmp_path / "tensorboard").write_text("in the way")
    told = []
    outlets = Outlets({"tensorboard": make({}, tmp_path, "learner")}, told.append)
    outlets.write(1, {"learner/updates": 1.0})
    outlets.close()
    assert len(told) == 1
    assert "exists" in told[0]


def test_a_full_disk_ends_the_sink_and_nothing_else(tmp_path):
    (tmp_path / "tensorboard").mkdir()
    sink = make({"flush_every_s": 0}, tmp_path, "learner")
    sink.open()
    sink._writer._py_recordio_writer._writer = open("/dev/full", "wb")  # noqa: SIM115
    with pytest.raises(OSError, match="No space left"):
        sink.write(1, {"learner/updates": 1.0})


@pytest.mark.parametrize("config", [{"flush_every_s": -1}, {"flush": 1}])
def test_options_that_mean_nothing_are_refused(tmp_path, config):
    with pytest.raises(InputError, match=r"sink\.tensorboard\.config"):
        make(config, tmp_path, "learner")
