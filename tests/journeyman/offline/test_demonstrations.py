"""A run whose demonstrations are a data set of others."""

from pathlib import Path

import numpy as np
import pytest
import torch

from agent.config import InputError
from agent.transition import Provenance
from controllers.config import InputError as RobotSideInputError
from journeyman.checks import check
from journeyman.cli import main
from journeyman.config import compose
from journeyman.demonstrations import demonstration_folder, read_demonstrations
from journeyman.learner import with_absolute_paths
from journeyman.wiring import make_env, make_reward_learner, make_spec


@pytest.fixture
def reach_data(write_d4rl):
    """Makes a file of three episodes that fits task `reach`; see `write_d4rl`."""
    env = make_env(compose(["task=reach"]))
    (state,), (actions,) = env.observation_space["state"].shape, env.action_space.shape
    env.close()

    def write(**changes):
        rng = np.random.default_rng(0)
        fields = {
            "observations": rng.normal(size=(8, state)),
            "actions": rng.uniform(-1, 1, (8, actions)),
            "next_observations": rng.normal(size=(8, state)),
        }
        return write_d4rl(**(fields | changes))

    return write


def config_of(source, episodes, *more):
    named = [f"demonstrations.folder={source}", f"demonstrations.episodes={episodes}"]
    return compose(["task=reach", "learner.device=cpu", *named, *more])


def records_of(config):
    env = make_env(config)
    records = read_demonstrations(demonstration_folder(config, None), config, env, make_spec(env))
    env.close()
    return records


@pytest.mark.parametrize(("episodes", "rows"), [(1, 3), (2, 5), (3, 8)])
def test_its_first_episodes_are_the_demonstrations(reach_data, episodes, rows):
    records = records_of(config_of(reach_data(), episodes))
    assert len(records) == rows
    assert records["reward"].tolist() == [0, 0, 1, 0, 0, 0, 0, 0][:rows]
    assert (records["provenance"] == Provenance.DEMONSTRATION).all()


def test_more_episodes_than_there_are_are_refused(reach_data):
    with pytest.raises(InputError, match=r"holds 3 episodes.* set demonstrations.episodes=3"):
        records_of(config_of(reach_data(), 4))


def test_before_a_run_it_is_said_what_nobody_could_check(reach_data, capsys):
    path = reach_data()
    check(config_of(path, 3))
    said = capsys.readouterr().err
    assert f"Of {path} only sizes and ranges were checked" in said
    assert "'reach'" in said
    assert "Warning" not in said


def test_before_a_run_it_is_said_where_episodes_cannot_be_followed(reach_data, capsys):
    path = reach_data()  # Whose next observations are drawn by lot.
    check(config_of(path, 3))
    assert f"In {path} 5 of 8 steps lead elsewhere than where the next step" in capsys.readouterr().err
    check(config_of(reach_data(next_observations=None), 3))
    assert "lead elsewhere" not in capsys.readouterr().err


def test_data_without_a_success_are_warned_of_and_used(reach_data, capsys):
    path = reach_data(rewards=-np.arange(8.0), terminals=np.zeros(8))
    check(config_of(path, 2))
    (warning,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("Warning")]
    assert str(path) in warning
    assert "No episode succeeds" in warning


def test_only_the_episodes_that_are_used_are_warned_of(reach_data, capsys):
    terminals, rewards = np.zeros((2, 8))
    terminals[[2, 7]] = rewards[7] = 1
    path = reach_data(terminals=terminals, rewards=rewards)
    for episodes, warned in ((3, False), (2, True)):
        check(config_of(path, episodes))
        assert ("No episode succeeds" in capsys.readouterr().err) == warned


@pytest.mark.parametrize("rewards", [None, np.array([0, 0, 1, np.nan, np.inf, 0, 0, 0])])
def test_data_without_rewards_are_for_those_who_need_none(reach_data, capsys, rewards):
    path = reach_data(rewards=rewards)
    config = config_of(path, 3, "algorithm=explore")
    unknown = [True] * 8 if rewards is None else (~np.isfinite(rewards)).tolist()
    assert np.isnan(records_of(config)["reward"]).tolist() == unknown
    check(config)
    assert "Warning" not in capsys.readouterr().err
    for other in (["algorithm=rlpd"], ["algorithm=explore", "algorithm.config.labels=recorded"]):
        with pytest.raises(
            InputError, match=r"no field 'rewards'.* algorithm=explore|rewards holds nan in row 3"
        ):
            records_of(config_of(path, 3, *other))


@pytest.mark.parametrize(
    ("words", "ends_stand"),
    [
        (["algorithm=rlpd"], True),
        (["algorithm=explore", "algorithm.config.labels=recorded"], True),
        (["reward=dac"], True),
        (["algorithm=explore"], False),
        (["learner.hindsight=4"], False),
        (["reward=vice"], False),
    ],
)
def test_a_terminal_that_led_nobody_knows_where_is_only_for_whom_nothing_comes_after_it(
    reach_data, words, ends_stand
):
    records = records_of(config_of(reach_data(next_observations=None), 3, *words))
    assert records["terminated"].any() == ends_stand
    # Nothing is expected behind a step whose next observation is its own, which only stands in.
    stays = (records["observation.state"] == records["next_observation.state"]).all(-1)
    assert stays.tolist() == records["terminated"].tolist()


def test_vice_refuses_data_that_do_not_say_what_success_looks_like(reach_data):
    config = config_of(reach_data(next_observations=None), 3, "reward=vice")
    env = make_env(config)
    with pytest.raises(
        RobotSideInputError, match="ends with success, of which it is known what that looks like"
    ):
        make_reward_learner(config, env, make_spec(env), records_of(config), torch.device("cpu"))
    env.close()


def test_data_without_rewards_are_not_drawn_by_return(reach_data):
    rewards = np.array([0, 0, 1, np.nan, 0, 0, 0, 0])
    for algorithm in ("explore", "bc"):
        ratio = ["learner.demonstration_ratio=1"] if algorithm == "bc" else []
        config = config_of(
            reach_data(rewards=rewards),
            3,
            f"algorithm={algorithm}",
            "learner.sampling.kind=return_weighted",
            *ratio,
        )
        with pytest.raises(
            InputError, match="return_weighted, but 1 of 8 recorded transitions have no reward"
        ):
            check(config)
    check(config_of(reach_data(), 3, "algorithm=explore", "learner.sampling.kind=return_weighted"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"terminals": None}, "no field 'terminals'"),
        ({"observations": np.zeros((8, 2)), "next_observations": np.zeros((8, 2))}, "observations [2], but"),
        ({"actions": np.full((8, 3), 7.0)}, "actions hold 7 (entry 0) in row 0, outside of [-1, 1]"),
    ],
)
def test_wrong_data_end_a_run_before_it_begins(reach_data, tmp_path, monkeypatch, capsys, changes, expected):
    monkeypatch.chdir(tmp_path)
    path = reach_data(**changes)
    assert main(["train", "task=reach", f"demonstrations.folder={path}", "demonstrations.episodes=3"]) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("choice", ["reward=progress", "curriculum=demonstrations"])
def test_what_is_made_from_episodes_refuses_it(reach_data, choice):
    with pytest.raises(InputError, match=f"{choice}.* need recorded episodes"):
        check(config_of(reach_data(), 3, choice))


def test_one_data_set_is_not_for_several_tasks(reach_data):
    config = config_of(reach_data(), 3, "task=relocate", "practice=forward_backward")
    with pytest.raises(InputError, match="is one data set, but each of there, back needs its own"):
        demonstration_folder(config, None, "there")


def test_a_run_finds_its_data_set_from_any_folder(reach_data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reach_data()
    config = with_absolute_paths(config_of("data.hdf5", 3))
    assert config.demonstrations.folder == str(tmp_path / "data.hdf5")
    stored = with_absolute_paths(config_of("minari:D4RL/door/human-v2", 3))
    assert stored.demonstrations.folder == "minari:D4RL/door/human-v2"
    assert demonstration_folder(stored, None) == Path("minari:D4RL/door/human-v2")
