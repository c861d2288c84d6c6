"""A slow or broken sink is nobody's problem but its own."""

import time

import pytest

from journeyman.sinks.sink import Outlets

POINTS = [(step, {"learner/updates": float(step)}) for step in range(50)]


def feed(outlets, points=POINTS):
    for step, values in points:
        outlets.write(step, values)
    outlets.close()


def test_every_sink_gets_everything_in_order_and_is_closed(recorded):
    sinks = {"one": recorded(), "two": recorded()}
    feed(Outlets(sinks), [(0, {}), *POINTS])  # Nothing is no figure.
    for sink in sinks.values():
        assert sink.points == POINTS
        assert (sink.calls[0], sink.calls[-1]) == ("open", "close")


@pytest.mark.parametrize("method", ["open", "write", "close"])
def test_one_that_fails_is_told_once_and_the_other_goes_on(recorded, method):
    told = []
    sinks = {"broken": recorded(fails=[method], error=ConnectionError("nobody answers")), "whole": recorded()}
    feed(Outlets(sinks, told.append))
    assert sinks["whole"].points == POINTS
    (sentence,) = told
    assert "broken is off" in sentence
    assert "nobody answers" in sentence
    assert sinks["broken"].calls.count(method) == 1


@pytest.mark.parametrize("method", ["open", "write"])
def test_one_whose_disk_is_full_goes_on_when_there_is_room(recorded, wait_until, monkeypatch, method):
    monkeypatch.setattr("journeyman.sinks.sink._AGAIN_AFTER_S", 0.01)
    told, sink = [], recorded(fails=[method])
    outlets = Outlets({"tensorboard": sink}, told.append)
    outlets.write(1, {"learner/updates": 1.0})
    wait_until(lambda: sink.calls.count(method) > 2, 20.0)
    sink.fails.clear()
    outlets.write(2, {"learner/updates": 2.0})
    outlets.close()
    assert "tensorboard lacks some figures" in told[0]
    assert "No space left on device" in told[0]
    assert told[1:] == ["Sink tensorboard takes figures again."]
    assert [step for step, _ in sink.points] == [1, 2]
    assert sink.calls[-1] == "close"


def test_one_whose_disk_stays_full_does_not_keep_the_process(recorded):
    told, sink = [], recorded(fails=["write"])
    feed(Outlets({"tensorboard": sink}, told.append))
    assert 1 <= len(told) <= 2
    assert not sink.points


def test_a_package_that_is_missing_is_named(recorded):
    told = []
    missing = recorded(fails=["open"], error=ModuleNotFoundError("No module named 'abc'", name="abc"))
    feed(Outlets({"tensorboard": missing}, told.append))
    assert told == [
        "Sink tensorboard is off from here on: the package abc is not installed here. The run goes on."
    ]


def test_by_default_the_sentence_goes_to_standard_error(recorded, capsys):
    feed(Outlets({"broken": recorded(fails=["open"], error=ConnectionError())}))
    assert capsys.readouterr().err.count("broken is off") == 1


def test_who_writes_never_waits_and_memory_is_bounded(recorded):
    stuck = recorded()
    stuck.gate.clear()
    outlets = Outlets({"stuck": stuck})
    started_s = time.process_time()
    for step in range(5000):
        outlets.write(step, {"learner/updates": 1.0})
    assert time.process_time() - started_s < 5.0
    stuck.gate.set()
    outlets.close()
    assert len(stuck.points) <= 1001
    assert stuck.points[-1][0] == 4999, "the newest are kept"


def test_one_that_hangs_does_not_keep_the_process(recorded, monkeypatch):
    monkeypatch.setattr("journeyman.sinks.sink._CLOSE_TIMEOUT_S", 0.1)
    told = []
    stuck = recorded()
    stuck.gate.clear()
    feed(Outlets({"stuck": stuck}, told.append))
    assert told == ["Sink stuck does not end; it may lack the last figures."]
    stuck.gate.set()
