"""The folder of a run outlives a loss of power, or nothing in it can be resumed."""

import os
from pathlib import Path

import pytest

from agent.checkpoint import Checkpoints
from agent.storage import make_folder
from journeyman.config import compose, write_config
from journeyman.run_directory import RunDirectory


@pytest.fixture
def forced(monkeypatch):
    """What is forced to disk and what gets its name, in order: `(path, None)` or `(path, new path)`."""
    events, fsync, replace = [], os.fsync, os.replace

    def sync_and_tell(descriptor):
        fsync(descriptor)
        events.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), None))

    def replace_and_tell(source, target):
        events.append((Path(source), Path(target)))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", sync_and_tell)
    monkeypatch.setattr(os, "replace", replace_and_tell)
    return events


def outlives(path, events):
    """Whether the content was forced to disk before it got its name, and its name after that."""
    named = max(i for i, (_, target) in enumerate(events) if target == path)
    before, after = events[:named], events[named:]
    return (events[named][0], None) in before and (path.parent, None) in after


def test_a_new_run_and_the_configuration_of_a_resumed_one_outlive_a_loss_of_power(tmp_path, forced):
    config = compose(["task=reach"])
    run = RunDirectory.create(config, tmp_path / "new" / "runs")
    assert all(outlives(path, forced) for path in (run.config, run.run_id, run.versions))
    assert {(path, None) for path in (tmp_path, tmp_path / "new", tmp_path / "new" / "runs")} <= set(forced)
    forced.clear()
    write_config(config, run.config)
    assert outlives(run.config, forced)


def test_a_new_folder_is_forced_into_the_one_above_it_and_an_old_one_is_left_alone(tmp_path, forced):
    make_folder(tmp_path / "a" / "b")
    assert forced == [(tmp_path, None), (tmp_path / "a", None)]
    make_folder(tmp_path / "a" / "b")
    assert len(forced) == 2
    Checkpoints(tmp_path / "run" / "checkpoints").save(5, {}, {}, {"blocks": 1})
    assert {(tmp_path, None), (tmp_path / "run", None)} <= set(forced)
