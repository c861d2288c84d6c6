import json
import os
from contextlib import suppress

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent.checkpoint import Checkpoints, load_checkpoint, load_policy
from agent.config import InputError

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "generator": torch.Generator().get_state()}
POLICY = {"mean": torch.ones(3)}


def test_round_trip(tmp_path):
    path = Checkpoints(tmp_path).save(120, TENSORS, POLICY, {"blocks": 7, "state": {"s": 2**100}})
    tensors, values = load_checkpoint(path)
    assert all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)
    assert values["blocks"] == 7
    assert values["state"] == {"s": 2**100}
    assert values["environment_steps"] == 120
    policy, values = load_policy(path)
    assert torch.equal(policy["mean"], POLICY["mean"])
    assert values["blocks"] == 7


def test_keeps_the_newest_few(tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for steps in (1, 20, 300, 4000):
        checkpoints.save(steps, TENSORS, POLICY, {})
    assert [p.name for p in checkpoints.all()] == ["000000300", "000004000"]
    assert checkpoints.newest().name == "000004000"


def test_saving_again_at_the_same_step_replaces(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, TENSORS, POLICY, {"blocks": 1})
    checkpoints.save(5, TENSORS, POLICY, {"blocks": 2})
    assert load_checkpoint(checkpoints.newest())[1]["blocks"] == 2
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("call", range(1, 8))
def test_a_crash_while_saving_leaves_a_complete_newest(tmp_path, monkeypatch, call):
    """Die at the n-th forced write: the newest checkpoint is the old or the new one, whole, and saving goes on."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, TENSORS, POLICY, {"blocks": 1})
    count = 0

    def dying(path):
        nonlocal count
        count += 1
        if count == call:
            raise KeyboardInterrupt

    monkeypatch.setattr("agent.checkpoint.sync", dying)
    try:
        checkpoints.save(2, TENSORS, POLICY, {"blocks": 2})
    except KeyboardInterrupt:
        assert call <= 5
    newest = Checkpoints(tmp_path).newest()
    tensors, values = load_checkpoint(newest)
    assert values["blocks"] == values["environment_steps"]
    assert torch.equal(tensors["a.weight"], TENSORS["a.weight"])
    monkeypatch.undo()
    Checkpoints(tmp_path).save(3, TENSORS, POLICY, {"blocks": 3})
    assert not list(tmp_path.glob(".*"))


@pytest.fixture(autouse=True)
def nobody_cuts_the_power(monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)


def saved(folder):
    """Two checkpoints, of which the older is the best."""
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(1, TENSORS, POLICY, {"blocks": 1})
    checkpoints.note_evaluation(evaluation(1, 0.5))
    checkpoints.save(2, TENSORS, POLICY, {"blocks": 2})
    return checkpoints


def assert_whole(folder, steps):
    """What a new process finds: these are the newest and the best, or it is the best of before."""
    checkpoints = Checkpoints(folder, keep=1)
    _, values = load_checkpoint(checkpoints.newest())
    assert values["blocks"] == values["environment_steps"]
    assert values["blocks"] in steps
    for path in checkpoints.all():
        assert torch.equal(load_checkpoint(path)[0]["a.weight"], TENSORS["a.weight"])
        load_policy(path)
    assert checkpoints.best().name == "000000001"
    return checkpoints


@pytest.mark.parametrize("steps", [2, 3])
@pytest.mark.parametrize("death", [False, True])
def test_the_newest_and_the_best_are_whole_wherever_a_disk_fails_or_the_writer_dies(
    tmp_path, faulty_disk, steps, death
):
    """A new one, and one in the place of the newest; all calls that change what is on disk are tried."""
    error = KeyboardInterrupt() if death else None
    at = 0
    while True:
        folder = tmp_path / str(at)
        checkpoints = saved(folder)
        failed = False
        with faulty_disk.failing(at, error, lasting=True):
            try:
                checkpoints.save(steps, TENSORS, POLICY, {"blocks": steps})
            except (OSError, KeyboardInterrupt) as raised:
                failed = raised is error or not death
        if at >= faulty_disk.calls:
            break
        if not death:  # It fails once more in the same process, which has what it moved aside to put back.
            with faulty_disk.failing(at=9), suppress(OSError):
                checkpoints.save(4, TENSORS, POLICY, {"blocks": 4})
        assert_whole(folder, (2, steps, 4))
        # The disk is mended, or another process goes on.
        checkpoints = Checkpoints(folder, keep=1) if death else checkpoints
        checkpoints.save(4, TENSORS, POLICY, {"blocks": 4})
        assert_whole(folder, (4,))
        assert sorted(p.name for p in folder.iterdir()) == ["000000001", "000000004", "best.json"]
        at += 1
    assert at > 12
    assert not failed


@pytest.mark.parametrize("steps", [2, 3])
def test_a_disk_that_takes_no_checkpoint_keeps_nothing_of_it(tmp_path, faulty_disk, steps):
    for at in range(14):
        folder = tmp_path / str(at)
        checkpoints = saved(folder)
        with faulty_disk.failing(at):
            try:
                checkpoints.save(steps, TENSORS, POLICY, {"blocks": steps})
            except OSError:
                assert sorted(p.name for p in folder.iterdir() if not p.name.startswith("0000")) == [
                    "best.json"
                ]
                assert checkpoints.newest().name in ("000000002", f"{steps:09d}")


def evaluation(version, success, mean_return=0.0, **more):
    report = {"kind": "evaluation", "success_rate": success, "mean_return": mean_return, "episodes": 20}
    return {**report, "policy_version": version, "environment_steps": version, **more}


@example([(0, 0, 1, False), (1, 1, 0, False), (0, 0, 9, False), (1, 1, 0, False)])
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.integers(0, 9), st.booleans()), max_size=12)
)
def test_the_best_is_the_one_nearest_to_the_best_evaluation_and_never_pruned(tmp_path_factory, history):
    """Of equal evaluations the newer; of the checkpoints there are when it comes and all that follow."""
    folder = tmp_path_factory.mktemp("checkpoints")
    checkpoints, version, kept, best, wanted = Checkpoints(folder, keep=2), 0, [], None, None

    def nearest():
        return min(kept, key=lambda kept: abs(kept - best[2])) if best and kept else None

    for success, mean_return, steps, restart in history:
        if steps:
            version += steps
            checkpoints.save(version, POLICY, POLICY, {"blocks": version})
            kept.append(version)
            wanted = nearest()
            kept = sorted({*kept[-2:], *([wanted] if best else [])})
        else:
            version += 1
            checkpoints.note_evaluation(evaluation(version, success / 3, float(mean_return)))
            if best is None or (success, mean_return) >= best[:2]:
                best = success, mean_return, version
                wanted = nearest()
        if restart:
            checkpoints = Checkpoints(folder, keep=2)
        assert [int(p.name) for p in checkpoints.all()] == kept
        found = checkpoints.best()
        assert (found and int(found.name)) == wanted
        assert checkpoints.find("best") == found
        assert checkpoints.find("newest") == checkpoints.newest()


@pytest.mark.parametrize(
    "report",
    [
        {"kind": "evaluation"},
        evaluation(5, float("nan")),
        evaluation(5, 1.0, float("inf")),
        evaluation(5, "all"),
        {**evaluation(5, 1.0), "kind": "episode"},
    ],
)
def test_a_report_that_is_no_evaluation_changes_nothing(tmp_path, report):
    checkpoints = saved(tmp_path)
    before = (tmp_path / "best.json").read_bytes()
    checkpoints.note_evaluation(report)
    assert (tmp_path / "best.json").read_bytes() == before


def test_a_best_that_a_full_disk_did_not_take_is_written_down_with_the_next_checkpoint(tmp_path, faulty_disk):
    checkpoints = saved(tmp_path)
    with faulty_disk.failing(0, lasting=True), pytest.raises(OSError, match="No space"):
        checkpoints.note_evaluation(evaluation(2, 1.0))
    assert Checkpoints(tmp_path).best().name == "000000001"
    checkpoints.save(9, TENSORS, POLICY, {"blocks": 9})
    assert Checkpoints(tmp_path).best().name == "000000002"


@pytest.mark.parametrize("content", [b"", b"{", b'{"success_rate": 1}', b"[]"])
def test_a_damaged_note_of_the_best_names_none(tmp_path, content):
    checkpoints = saved(tmp_path)
    (tmp_path / "best.json").write_bytes(content)
    assert checkpoints.best() is None
    checkpoints.note_evaluation(evaluation(2, 0.1))
    assert checkpoints.best().name == "000000002"


def test_a_replacement_killed_between_its_renames_is_undone(tmp_path):
    path = Checkpoints(tmp_path).save(1, TENSORS, POLICY, {"blocks": 1})
    path.rename(tmp_path / ".000000001.old")
    (tmp_path / ".000000001.partial").mkdir()
    assert load_checkpoint(Checkpoints(tmp_path).newest())[1]["blocks"] == 1


def test_none_yet(tmp_path):
    assert Checkpoints(tmp_path / "absent").newest() is None


def test_damage_is_named(tmp_path):
    path = Checkpoints(tmp_path).save(1, TENSORS, POLICY, {})
    content = (path / "state.safetensors").read_bytes()
    (path / "state.safetensors").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="damaged"):
        load_checkpoint(path)
    (path / "state.safetensors").unlink()
    with pytest.raises(InputError, match=r"needs state\.json and state\.safetensors"):
        load_checkpoint(path)


def test_another_version_is_refused(tmp_path):
    path = Checkpoints(tmp_path).save(1, TENSORS, POLICY, {})
    values = json.loads((path / "state.json").read_text())
    (path / "state.json").write_text(json.dumps({**values, "format_version": 99}))
    with pytest.raises(InputError, match=r"format version 99.*reads 1"):
        load_checkpoint(path)
