"""Starts of episodes that only a twin can have: exact, at rest, never in an evaluation, and more where it fails."""

from dataclasses import replace

import gymnasium
import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from robot_env.contracts import ResetResult, Reward
from robot_env.episodes import EpisodeWriter, read_episode
from sim.config import RandomisationConfig, TwinConfig
from sim.curriculum import Start, make_demonstration_starts
from sim.curriculum_env import CurriculumEnv
from sim.curriculum_failures import make_failure_starts
from sim.curriculum_states import retrace
from sim.registration import make_env, task_names

IDLE = np.array([0.0, 0.0, 0.0, 1.0], np.float32)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def act_by_expert(env, seed, steps=50, noise=0.2, each=lambda observation, info: None):
    """The noisy expert, until success."""
    rng = np.random.default_rng(seed)
    env.reset(seed=seed)
    expert = env.scene.make_expert()
    for _ in range(steps):
        action = np.clip(expert.act() + rng.normal(0.0, noise, env.action_space.shape), -1.0, 1.0)
        observation, reward, terminated, truncated, info = env.step(action.astype(np.float32))
        each((observation, reward, terminated, truncated), info)
        if terminated:
            break


@pytest.fixture(scope="session")
def recorded(twin_env, tmp_path_factory):
    """An episode of the noisy expert, and the snapshots of the scene before each of its actions."""
    env, path = twin_env("lift_cube"), tmp_path_factory.mktemp("episodes") / "0.mcap"
    writer = EpisodeWriter(
        path,
        task=msgspec.to_builtins(env.task),
        robot="twin",
        state_names=env.state_names,
        action_size=env.task.action.size,
        seed=7,
    )
    observation, _ = env.reset(seed=7)
    writer.start(observation, env.state)
    places = [env.scene.snapshot()]

    def add(step, info):
        observation, reward, terminated, truncated = step
        writer.step(info["executed_action"], reward, observation, terminated, truncated, env.state)
        places.append(env.scene.snapshot())

    act_by_expert(env, 7, each=add)
    writer.finish(True)
    return read_episode(path), np.stack(places[:-1])


class Chosen:
    """A curriculum that starts as the task does, and remembers what it is asked and told."""

    def __init__(self, scene):
        self.scene, self.asked, self.told = scene, [], []
        self.failures = 0

    def start(self, environment_steps, rng):
        self.asked.append(environment_steps)
        if self.failures:
            self.failures -= 1
            return Start("chosen", ResetResult(False, "not yet"))
        return Start("chosen", self.scene.reset(rng))

    def ended(self, success):
        self.told.append(success)


class HelpedOnce(gymnasium.Wrapper):
    """A person acted in the first step of each episode."""

    def reset(self, **given):
        self.steps = 0
        return super().reset(**given)

    def step(self, action):
        *rest, info = super().step(action)
        self.steps += 1
        return *rest, {**info, "intervened": self.steps == 1}


class TestSnapshots:
    @pytest.mark.parametrize("task", task_names())
    def test_a_scene_starts_from_where_it_was_and_rests_there(self, twin_env, task, rng):
        env = twin_env(task)
        act_by_expert(env, seed=3, steps=6)
        scene, before = env.scene, env.robot.observe()
        poses = {name: (position.copy(), turn.copy()) for name, (position, turn) in scene.poses().items()}
        places = scene.snapshot()
        env.reset(seed=4)
        assert scene.start_from(places, rng).success
        after = env.robot.observe()
        assert after.joint_position_rad == pytest.approx(before.joint_position_rad, abs=2e-3)
        assert np.abs(after.joint_velocity_rad_s).max() < 0.02
        for name, (position, turn) in scene.poses().items():
            assert position == pytest.approx(poses[name][0], abs=2e-3)
            assert abs(float(turn @ poses[name][1])) > 0.999

    def test_what_was_grasped_is_held(self, lift_cube, rng):
        scene = lift_cube.scene
        expert = scene.make_expert()
        while not (scene.is_grasped() and scene.cube_m[2] > 0.05):
            lift_cube.step(expert.act())
        places, height_m = scene.snapshot(), float(scene.cube_m[2])
        lift_cube.reset(seed=9)
        assert not scene.is_grasped()
        scene.start_from(places, rng)
        assert scene.is_grasped()
        assert float(scene.cube_m[2]) == pytest.approx(height_m, abs=2e-3)

    def test_a_start_from_a_snapshot_varies_as_a_reset_does(self):
        env = make_env("lift_cube", TwinConfig(randomisation=RandomisationConfig(object_mass_kg=(0.02, 0.2))))
        env.reset(seed=0)
        model, places = env.robot.twin.model, env.scene.snapshot()
        masses = set()
        for seed in range(5):
            env.scene.start_from(places, np.random.default_rng(seed))
            masses.add(float(model.body("cube").mass[0]))
        assert len(masses) == 5

    def test_drawing_to_look_is_the_start_that_a_reset_would_make(self, lift_cube):
        scene = lift_cube.scene
        scene.reset(np.random.default_rng(5))
        there_m = scene.cube_m.copy()
        assert scene.draw(np.random.default_rng(5)).success
        assert scene.cube_m == pytest.approx(there_m, abs=1e-4)


class TestEnvironment:
    def test_evaluations_start_to_the_bit_as_without_a_curriculum(self, lift_cube, recorded):
        def starts(env, between):
            found = []
            for seed in range(3):
                observation, info = env.reset(seed=seed, options={"unaided": True})
                assert info.get("start", "task") == "task"
                found.append(observation["state"])
                between()
            return found

        alone = starts(lift_cube, lambda: None)
        curriculum = make_demonstration_starts(lift_cube.scene, {"probability": 1.0})
        curriculum.learn([recorded[1]])
        env = CurriculumEnv(lift_cube, curriculum)
        beside = starts(env, lambda: env.reset(seed=99))
        np.testing.assert_array_equal(alone, beside)

    def test_the_curriculum_is_neither_asked_nor_told_of_evaluations(self, lift_cube):
        curriculum = Chosen(lift_cube.scene)
        env = CurriculumEnv(lift_cube, curriculum)
        env.reset(seed=0, options={"unaided": True})
        play_out(env)
        assert (curriculum.asked, curriculum.told, env.environment_steps) == ([], [], 0)

    def test_it_counts_its_own_steps_unless_it_is_told_them(self, lift_cube):
        curriculum = Chosen(lift_cube.scene)
        env = CurriculumEnv(lift_cube, curriculum)
        env.reset(seed=0)
        play_out(env)
        env.reset(options={"unaided": True})
        play_out(env)
        env.reset()
        env.reset(options={"environment_steps": 1234})
        env.step(IDLE)
        env.reset()
        assert curriculum.asked == [0, 50, 1234, 1235]

    def test_the_start_is_told_at_both_ends_of_an_episode(self, lift_cube):
        env = CurriculumEnv(lift_cube, Chosen(lift_cube.scene))
        _, info = env.reset(seed=0)
        assert info["start"] == "chosen"
        assert play_out(env)["start"] == "chosen"
        env.reset(options={"unaided": True})
        assert play_out(env)["start"] == "task"

    def test_the_outcome_is_told_once_an_episode_is_over(self, lift_cube):
        curriculum = Chosen(lift_cube.scene)
        env = CurriculumEnv(lift_cube, curriculum)
        env.reset(seed=0)
        env.step(IDLE)
        env.reset(seed=0)  # The one before was broken off.
        assert curriculum.told == []
        play_out(env)
        env.reset(seed=0)
        expert, done = lift_cube.scene.make_expert(), False
        while not done:
            _, _, done, _, _ = env.step(expert.act())
        assert curriculum.told == [False, True]

    def test_the_truth_counts_where_somebody_else_judges(self, lift_cube):
        class Always:
            def reward(self, observation):
                return Reward(0.0, True)

        curriculum = Chosen(lift_cube.scene)
        usual = lift_cube.reward_model
        lift_cube.truth, lift_cube.reward_model = usual, Always()
        try:
            env = CurriculumEnv(lift_cube, curriculum)
            env.reset(seed=0)
            env.step(IDLE)
        finally:
            lift_cube.truth, lift_cube.reward_model = None, usual
        assert curriculum.told == [False]

    def test_what_a_person_helped_with_says_nothing_of_the_policy(self, lift_cube):
        curriculum = Chosen(lift_cube.scene)
        env = CurriculumEnv(HelpedOnce(lift_cube), curriculum)
        env.reset(seed=0)
        play_out(env)
        assert curriculum.told == []

    def test_a_start_that_does_not_work_is_tried_again(self, lift_cube):
        curriculum = Chosen(lift_cube.scene)
        curriculum.failures = 2
        _, info = CurriculumEnv(lift_cube, curriculum).reset(seed=0)
        assert [attempt.success for attempt in info["reset_attempts"]] == [False, False, True]

    def test_the_reset_is_the_environments_own_again_afterwards(self, lift_cube):
        env = CurriculumEnv(lift_cube, Chosen(lift_cube.scene))
        env.reset(seed=0)
        assert lift_cube.reset_policy is lift_cube.scene


class TestDemonstrations:
    def test_the_probability_fades_to_nothing(self, lift_cube, recorded, rng):
        curriculum = make_demonstration_starts(lift_cube.scene, {"probability": 0.8, "fade_steps": 1000})
        curriculum.learn([recorded[1]])

        def share(steps):
            kinds = [curriculum.start(steps, rng).kind for _ in range(100)]
            assert set(kinds) <= {"task", "demonstration"}
            return kinds.count("demonstration") / len(kinds)

        assert share(0) == pytest.approx(0.8, abs=0.12)
        assert share(500) == pytest.approx(0.4, abs=0.15)
        assert share(1000) == share(10**6) == 0.0

    def test_late_states_come_first(self, lift_cube, rng):
        curriculum = make_demonstration_starts(lift_cube.scene, {"from_end": 0.2, "fade_steps": 1000})
        curriculum.learn([np.arange(50.0)[:, None]])

        def reached(gone):
            return {float(curriculum._choose(gone, rng)[0]) for _ in range(1000)}

        assert reached(0.0) == set(range(40, 50))
        assert reached(0.5) == set(range(20, 50))
        assert reached(1.0) == set(range(50))

    def test_every_demonstration_has_its_turn_and_the_shortest_has_a_state(self, lift_cube, rng):
        curriculum = make_demonstration_starts(lift_cube.scene, {"from_end": 0.01})
        curriculum.learn([np.array([[0.0], [1.0]]), np.array([[2.0]])])
        assert {float(curriculum._choose(0.0, rng)[0]) for _ in range(50)} == {1.0, 2.0}

    def test_an_episode_starts_in_a_demonstrations_state(self, lift_cube, recorded):
        curriculum = make_demonstration_starts(lift_cube.scene, {"probability": 1.0, "from_end": 0.01})
        curriculum.learn([recorded[1]])
        env = CurriculumEnv(lift_cube, curriculum)
        _, info = env.reset(seed=0)
        assert info["start"] == "demonstration"
        assert lift_cube.scene.is_grasped()


class TestFailures:
    def test_starts_gather_where_the_policy_fails_and_none_is_starved(self, lift_cube, rng):
        curriculum = make_failure_starts(lift_cube.scene, {"uniform": 0.2})
        left = []
        for number in range(150):
            curriculum.start(number, rng)
            is_left = bool(lift_cube.scene.cube_m[1] < 0.0)
            curriculum.ended(success=not is_left)
            left.append(is_left)
        assert 0.6 < np.mean(left[50:]) < 0.95

    def test_as_long_as_little_is_known_the_task_draws(self, lift_cube, rng):
        curriculum = make_failure_starts(lift_cube.scene, {"uniform": 0.0, "neighbours": 3})
        kinds = []
        for number in range(5):
            kinds.append(curriculum.start(number, rng).kind)
            curriculum.ended(success=False)
        assert kinds == ["task", "task", "task", "failure", "failure"]

    def test_what_was_broken_off_is_not_remembered(self, lift_cube, rng):
        curriculum = make_failure_starts(lift_cube.scene, {"uniform": 0.0, "neighbours": 1})
        assert [curriculum.start(0, rng).kind for _ in range(3)] == ["task"] * 3

    def test_failure_is_that_of_the_nearest_and_old_outcomes_are_forgotten(self, lift_cube):
        curriculum = make_failure_starts(lift_cube.scene, {"neighbours": 2, "memory": 4})
        for at, success in ((0, True), (0, True), (0, False), (1, False), (10, True), (11, True)):
            curriculum._begun = np.array([float(at), 5.0])  # The second entry never varies.
            curriculum.ended(success)
        shares = curriculum.failure_shares(np.array([[0.5, 5.0], [10.4, 5.0]]))
        assert shares == pytest.approx([0.75, 0.25])

    def test_the_same_seed_chooses_the_same(self, lift_cube):
        def starts():
            curriculum = make_failure_starts(lift_cube.scene, {"neighbours": 2})
            found = []
            for seed in range(8):
                kind = curriculum.start(0, np.random.default_rng(seed)).kind
                found.append((kind, lift_cube.scene.cube_m.tobytes()))
                curriculum.ended(success=seed % 2 == 0)
            return found

        assert starts() == starts()

    def test_where_no_start_can_be_reached_it_is_said(self, lift_cube, rng, monkeypatch):
        curriculum = make_failure_starts(lift_cube.scene, {"uniform": 0.0, "neighbours": 1})
        curriculum.start(0, rng)
        curriculum.ended(success=False)
        monkeypatch.setattr(lift_cube.scene, "draw", lambda rng: ResetResult(False, "out of reach"))
        assert curriculum.start(0, rng).result == ResetResult(False, "out of reach")


class TestRetracing:
    def test_a_file_leads_through_the_recorded_states(self, lift_cube, recorded):
        episode, places = recorded
        again = retrace(lift_cube, episode)
        assert len(again) == len(places) == len(episode.actions)
        nq = lift_cube.robot.twin.model.nq
        assert again[:, :nq] == pytest.approx(places[:, :nq], abs=1e-6)

    def test_states_in_which_the_task_is_done_are_left_out(self, lift_cube, recorded, monkeypatch):
        scene = lift_cube.scene
        heights = []
        monkeypatch.setattr(scene, "success", lambda: scene.cube_m[2] > 0.05)
        for places in retrace(lift_cube, recorded[0]):
            scene.start_from(places, np.random.default_rng(0))
            heights.append(scene.cube_m[2])
        assert 0 < len(heights) < len(recorded[0].actions)
        assert max(heights) < 0.06

    @pytest.mark.parametrize(
        ("change", "complaint"),
        [
            (lambda e: replace(e, success=False), "did not succeed"),
            (lambda e: replace(e, success=None), "did not succeed"),
            (lambda e: seeded(e, None), "without a seed"),
            (lambda e: seeded(e, 8), "at step 0 the twin departs"),
            (lambda e: replace(e, actions=np.roll(e.actions, 1, axis=0)), r"at step \d+ the twin departs"),
            (lambda e: replace(e, robot={}), "where joints and fingers were"),
            (lambda e: moved(e, "cube_position.1", 4), r"at step 4 .* cube_position\.1"),
            (lambda e: moved(e, "gripper_width", 0, np.nan), r"at step 0 .* gripper_width"),
        ],
    )
    def test_what_the_twin_does_not_do_again_is_refused(self, lift_cube, recorded, change, complaint):
        with pytest.raises(InputError, match=complaint):
            retrace(lift_cube, change(recorded[0]))

    def test_what_is_done_from_the_beginning_is_refused(self, lift_cube, recorded, monkeypatch):
        monkeypatch.setattr(lift_cube.scene, "success", lambda: True)
        with pytest.raises(InputError, match="done from its beginning"):
            retrace(lift_cube, recorded[0])


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"probability": 1.5}, "probability 1.5 must lie"),
        ({"from_end": 0}, "from_end 0.0 in"),
        ({"fade_steps": 0}, "fade_steps 0 must be"),
        ({"fade": 1}, "`fade`; known are fade_steps"),
    ],
)
def test_demonstration_starts_refuse_what_cannot_be_meant(lift_cube, config, complaint):
    with pytest.raises(InputError, match=complaint):
        make_demonstration_starts(lift_cube.scene, config)


@pytest.mark.parametrize(
    "config", [{"uniform": -0.1}, {"candidates": 1}, {"neighbours": 0}, {"memory": 4}, {"weight": 1}]
)
def test_failure_starts_refuse_what_cannot_be_meant(lift_cube, config):
    with pytest.raises(InputError, match=next(iter(config))):
        make_failure_starts(lift_cube.scene, config)


def play_out(env):
    """Do nothing until the episode ends; its last `info`."""
    done = False
    while not done:
        _, _, terminated, truncated, info = env.step(IDLE)
        done = terminated or truncated
    return info


def seeded(episode, seed):
    return replace(episode, metadata=msgspec.structs.replace(episode.metadata, seed=seed))


def moved(episode, name, step, by=0.1):
    state = episode.observations["state"].copy()
    state[step, episode.metadata.state_names.index(name)] += by
    return replace(episode, observations={"state": state})
