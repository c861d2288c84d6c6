"""What a run is drawn by, from its configuration to the batch; what does not fit together is refused."""

import numpy as np
import pytest
import torch

from agent.config import InputError
from agent.record_log import RecordLog
from journeyman.checks import check
from journeyman.cli import main
from journeyman.config import compose
from journeyman.sampling import goals_in_hindsight
from journeyman.wiring import make_env, make_sampler, make_spec

HIDDEN_GOAL = "task.privileged=[{name: joint_velocity, scale: 1.0}, {name: goal_from_ee, scale: 0.3}]"


def make(tmp_path, *overrides):
    """The sampler of a run in which one episode went past its goal and another was recorded."""
    config = compose(["task=reach_goal", *overrides])
    env = make_env(config)
    spec = make_spec(env)
    rows = np.zeros(8, spec.dtype)
    goals = goals_in_hindsight(config, env)
    for prefix, offset in (("observation", 0), ("next_observation", 1)):
        rows[f"{prefix}.state"][:, 0] = np.arange(8) + offset  # Of the tool centre point.
        rows[f"{prefix}.state"][:, 6] = -5.0  # Of the goal.
    rows["step"], rows["reward"], rows["truncated"][-1] = np.arange(8), -1.0, True
    log = RecordLog.open(tmp_path / "replay.log", spec.dtype)
    log.append(rows)
    shown = rows.copy()
    sampler = make_sampler(config, spec, shown, log, torch.device("cpu"), None, None, goals)
    log.close()
    return sampler


def test_a_run_learns_about_other_goals_of_what_was_done_and_of_what_was_shown(tmp_path):
    batch = make(tmp_path, "learner.hindsight=4").sample(1, 64)
    goal = batch["observation.state"][:, 6]
    for part in (goal[:32], goal[32:]):
        assert 0.6 < float((part != -5.0).float().mean()) < 1.0
    reached = batch["next_observation.state"][:, 0] == goal
    assert torch.equal(batch["terminated"], reached)
    assert torch.equal(batch["reward"], torch.where(reached, 0.0, -1.0))


def test_batches_are_as_before_unless_something_else_is_asked_for(tmp_path):
    (tmp_path / "prioritised").mkdir()
    before = make(tmp_path).sample(2, 16)
    assert {"weight", "row"}.isdisjoint(before)
    assert (before["observation.state"][:, 6] == -5.0).all()
    batch = make(tmp_path / "prioritised", "learner.sampling.kind=prioritised", "learner.hindsight=1").sample(
        2, 16
    )
    assert batch["weight"].tolist() == pytest.approx([1.0] * 32)
    assert len(set(batch["row"].tolist())) > 8


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=reach", "learner.hindsight=4"], "task 'reach' has no goal: .* reach_goal"),
        (["task=reach_goal", "learner.hindsight=4", "task.reward.kind=dense"], "kind=dense .* choose reward=task"),
        (["task=reach_goal", "learner.hindsight=4", "reward=vice"], "here are reward=vice"),
        (
            ["task=reach_goal", "learner.hindsight=4", "demonstrations.episodes=0", HIDDEN_GOAL],
            "task.privileged has goal_from_ee, from which critics can tell the goal",
        ),
        (["learner.sampling.kind=prioritised", "algorithm=iql"], "IQL does not tell how its critics err: choose sac"),
        (
            ["learner.sampling.kind=return_weighted", "demonstrations.episodes=0"],
            "return_weighted, which is about recorded data, but demonstrations.episodes is 0",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused_in_one_sentence(overrides, message):
    with pytest.raises(InputError, match=message):
        check(compose(overrides))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("learner.hindsight=-1", "learner.hindsight -1 must not be negative"),
        ("learner.sampling.kind=often", "often"),
        ("learner.sampling.alpha=2", "learner.sampling.alpha 2.0 and beta 0.4 must lie"),
        (
            "learner.sampling.power=2",
            "no key 'learner.sampling.power'; choose from alpha, beta, kind, temperature",
        ),
    ],
)
def test_values_that_cannot_be_meant_are_refused(override, message):
    with pytest.raises(InputError, match=message):
        compose(["task=reach_goal", override])


def test_no_folder_is_made_for_a_task_without_a_goal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "task=reach", "learner.hindsight=4"]) == 2
    assert "has no goal" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
