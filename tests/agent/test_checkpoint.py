import json

import pytest
import torch

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
