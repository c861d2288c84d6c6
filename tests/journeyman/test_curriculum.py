"""A run's curriculum: wired around what acts, with the run's demonstrations, and refused where it cannot be."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gymnasium
import msgspec
import numpy as np
import pytest

from agent.config import InputError
from agent.journal import JournalReader
from journeyman.acting import make_acting_env
from journeyman.checks import check
from journeyman.collect import record_demonstrations
from journeyman.config import compose
from journeyman.curriculum import check_curriculum, follow_curriculum
from journeyman.wiring import make_env
from robot_env.assisted_env import AssistedEnv
from robot_env.episodes import list_episodes, read_episode, write_episode
from robot_env.recorded_env import RecordedEnv
from sim.curriculum_env import CurriculumEnv

SMALL = (
    "task=reach",
    "curriculum=demonstrations",
    "curriculum.config.probability=1",
    "curriculum.config.fade_steps=100000",
    "demonstrations.episodes=3",
    "learner.max_environment_steps=200",
    "learner.start_steps=60",
    "actor.random_steps=60",
    "actor.evaluate_every=0",
    "evaluation.episodes=1",
    "evaluation.video_episodes=0",
    "evaluation.baseline=false",
    "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[32,32]",
    "algorithm.config.batch_size=32",
)


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory):
    """Of `reach`, which is quick."""
    folder = tmp_path_factory.mktemp("demonstrations")
    record_demonstrations(compose(["task=reach"]), folder, 3)
    return folder


def choose(*overrides, folder=None):
    given = [f"demonstrations.folder={folder}", "demonstrations.episodes=3"] if folder else []
    return compose(["task=reach", *given, *overrides])


def other_folder(demonstrations, tmp_path, change):
    """The same demonstrations, each changed."""
    for number, path in enumerate(list_episodes(demonstrations)):
        write_episode(tmp_path / path.name, change(number, read_episode(path)))
    return tmp_path


def without_seed(episode):
    return replace(episode, metadata=msgspec.structs.replace(episode.metadata, seed=None))


def starts(config, number=20):
    env = follow_curriculum(make_env(config), config, None)
    kinds = [env.reset(seed=seed)[1]["start"] for seed in range(number)]
    env.close()
    return kinds


def test_without_a_curriculum_nothing_is_added():
    config = choose()
    env = make_env(config)
    assert follow_curriculum(env, config, None) is env
    assert config.curriculum.name == "none"


def test_episodes_start_in_the_demonstrations_of_the_run(demonstrations):
    config = choose("curriculum=demonstrations", "curriculum.config.probability=0.5", folder=demonstrations)
    assert set(starts(config)) == {"task", "demonstration"}


def test_demonstrations_paced_by_a_hand_are_done_again_as_fast_as_they_can(demonstrations):
    config = choose("curriculum=demonstrations", "robot.config.realtime=true", folder=demonstrations)
    env = make_env(config)
    assert isinstance(follow_curriculum(env, config, None), CurriculumEnv)


def test_episodes_start_where_the_policy_fails():
    config = choose("curriculum=failures", "curriculum.config.uniform=0", "curriculum.config.neighbours=2")
    env = follow_curriculum(make_env(config), config, None)
    kinds = []
    for seed in range(4):
        kinds.append(env.reset(seed=seed)[1]["start"])
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(np.ones(env.action_space.shape, np.float32))
            done = terminated or truncated
        assert info["start"] == kinds[-1]
    assert kinds == ["task", "task", "failure", "failure"]


def test_the_curriculum_hears_what_a_person_did_and_recordings_hold_what_came_of_it(tmp_path):
    config = choose("curriculum=failures", "device=intervener")
    env, _ = make_acting_env(config, tmp_path, None)
    try:
        layers, layer = [], env
        while isinstance(layer, gymnasium.Wrapper):
            layers.append(type(layer))
            layer = layer.env
        assert layers == [RecordedEnv, CurriculumEnv, AssistedEnv]
    finally:
        env.close()


def test_demonstrations_that_cannot_be_done_again_are_left_out_and_that_is_said(
    demonstrations, tmp_path, capsys
):
    folder = other_folder(demonstrations, tmp_path, lambda n, e: without_seed(e) if n == 1 else e)
    assert "demonstration" in starts(choose("curriculum=demonstrations", folder=folder))
    said = capsys.readouterr().err
    assert said.startswith("No episode starts in demonstration 1: it was recorded without a seed")
    assert said.count("\n") == 1


def test_where_none_can_be_done_again_that_is_refused(demonstrations, tmp_path):
    folder = other_folder(demonstrations, tmp_path, lambda n, e: without_seed(e))
    config = choose("curriculum=demonstrations", folder=folder)
    with pytest.raises(InputError, match=r"needs demonstrations .* without a seed.*curriculum=none\.$"):
        follow_curriculum(make_env(config), config, None)


@pytest.mark.parametrize("overrides", [["demonstrations.episodes=0"], []])
def test_without_demonstrations_there_is_nothing_to_start_from(overrides):
    """The run's own are not known on an actor far from it."""
    config = choose("curriculum=demonstrations", *overrides)
    with pytest.raises(InputError, match=r"demonstrations\.folder; or choose curriculum=none"):
        follow_curriculum(make_env(config), config, None)


class TestCheck:
    @pytest.mark.parametrize("name", ["none", "demonstrations", "failures"])
    def test_what_fits_passes_before_demonstrations_are_recorded(self, name):
        check(choose(f"curriculum={name}"))

    def test_a_curriculum_of_demonstrations_needs_some(self):
        with pytest.raises(InputError, match=r"demonstrations\.episodes"):
            check(choose("curriculum=demonstrations", "demonstrations.episodes=0"))

    def test_a_robot_that_is_no_twin_is_refused(self, refused):
        env = make_env(choose())
        env.scene = object()
        refused(env, choose("curriculum=failures"))

    def test_a_reset_that_drives_the_arm_is_refused(self, refused):
        config = choose("curriculum=demonstrations", "reset=operator")
        refused(make_env(config), config)

    def test_practice_without_resets_is_refused(self, refused):
        config = compose(["task=relocate", "practice=forward_backward", "curriculum=failures"])
        refused(make_env(config), config)

    @pytest.mark.parametrize(
        ("factory", "complaint"),
        [
            ("sim.nothing.make", "cannot be loaded"),
            ("os.getcwd", "cannot be called"),
            ("operator.is_", "makes no curriculum"),
        ],
    )
    def test_what_makes_no_curriculum_is_refused(self, factory, complaint):
        with pytest.raises((InputError, ValueError), match=complaint):
            check(choose(f"curriculum.factory={factory}"))

    def test_unknown_keys_are_refused(self):
        with pytest.raises(ValueError, match=r"curriculum\.config.*fade_steps"):
            check(choose("curriculum=demonstrations", "curriculum.config.fade=1"))
        with pytest.raises(InputError, match="no curriculum 'failure'; choose from demonstrations, failures"):
            compose(["curriculum=failure"])

    @pytest.fixture
    def refused(self):
        def see(env, config):
            pattern = r"choose robot=twin, reset=robot and practice=none, or curriculum=none\.$"
            with pytest.raises(InputError, match=pattern):
                check_curriculum(env, config)

        return see


@pytest.mark.slow
def test_a_run_starts_so_and_its_journal_says_it(tmp_path):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "journeyman", "train", *SMALL]
    subprocess.run(command, cwd=tmp_path, check=True, env={**os.environ, "PYTHONPATH": root}, timeout=240)
    entries = JournalReader(tmp_path / "runs/latest/journal.jsonl").new()
    starts = [entry["start"] for entry in entries if entry["kind"] == "episode"]
    assert starts.count("demonstration") >= len(starts) - 1 > 0
