import msgspec
import numpy as np
import pytest

from controllers.config import InputError
from reward_models.success_classifier.reward import (
    ClassifierRewardConfig,
    SuccessClassifierReward,
    make_classifier_reward,
)
from robot_env.contracts import RestartedRewardModel
from robot_env.env import RobotEnv
from robot_env.robot import RobotError
from robot_env.task import RewardConfig, Task

STATE_NAMES = ("gripper_width", "goal")
PAYS = RewardConfig(success=5.0, step=-0.5)


@pytest.fixture
def judge(made):
    def make(**config):
        chosen = ClassifierRewardConfig(model="x", **config)
        return SuccessClassifierReward(made.classifier, PAYS, STATE_NAMES, chosen)

    return make


def test_one_picture_of_success_is_not_enough(judge, observe):
    rng = np.random.default_rng(0)
    reward = judge()
    first, second = (reward.reward(observe(True, rng)) for _ in range(2))
    assert (first.success, first.value) == (False, -0.5)
    assert (second.success, second.value) == (True, 5.0)
    assert first.terms["probability"] > 0.5
    assert second.terms["votes"] == 2.0


def test_votes_do_not_outlive_the_episode(judge, observe):
    rng = np.random.default_rng(0)
    reward = judge()
    assert isinstance(reward, RestartedRewardModel)
    reward.reward(observe(True, rng))
    reward.restart()
    assert not reward.reward(observe(True, rng)).success


def test_the_threshold_can_be_raised(judge, observe):
    reward = judge(threshold=1.0 - 1e-15, needed=1, window=1)
    assert not reward.reward(observe(True, np.random.default_rng(0))).success


def test_unfamiliar_pictures_are_counted_and_said_once(judge, observe, capsys):
    rng = np.random.default_rng(0)
    reward = judge()
    for _ in range(8):
        seen = observe(False, rng)
        last = reward.reward({**seen, "front": seen["front"] // 8})
    assert last.terms["novelty"] > 1.0
    assert last.terms["novel_frames"] == reward.novel_frames == 8
    assert capsys.readouterr().err.count("unlike those it was fitted to") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda seen: seen.pop("front"), "camera 'front'"),
        (lambda seen: seen.update(front=seen["front"][:-1]), "'front' of shape"),
        (lambda seen: seen.update(front=seen["front"] / np.float32(255)), "float32"),
        (lambda seen: seen.update(front=seen["front"][..., 0]), "it must be uint8"),
    ],
)
def test_a_camera_that_fails_is_an_error_and_no_success(judge, observe, change, message):
    rng = np.random.default_rng(0)
    reward = judge(needed=1, window=1)
    seen = observe(True, rng)
    change(seen)
    with pytest.raises(RobotError, match=message):
        reward.reward(seen)


def test_a_verdict_that_is_not_a_number_is_an_error(made, judge, observe):
    broken = judge(needed=1, window=1)
    card = msgspec.structs.replace(made.classifier.card, temperature=float("nan"))
    broken._classifier = type(made.classifier)(card, made.classifier.network, made.classifier.novelty)
    with pytest.raises(RobotError, match="not a number"):
        broken.reward(observe(True, np.random.default_rng(0)))


def test_a_dense_reward_is_refused(made):
    with pytest.raises(InputError, match="sparse"):
        SuccessClassifierReward(
            made.classifier, RewardConfig(kind="dense"), STATE_NAMES, ClassifierRewardConfig(model="x")
        )


@pytest.mark.parametrize(
    "values", [{"needed": 0}, {"needed": 4}, {"threshold": 1.0}, {"threshold": float("nan")}]
)
def test_votes_that_never_or_always_succeed_are_refused(values):
    with pytest.raises(ValueError, match="must lie between"):
        ClassifierRewardConfig(model="x", **values)


class Environment:
    """As much of an environment as the factory looks at."""

    def __init__(self, **cameras):
        sizes = {name: {"height": height, "width": width} for name, (height, width) in cameras.items()}
        self.state_names = STATE_NAMES
        self.task = msgspec.convert(
            {
                "name": "squares",
                "scene": "none",
                "control_rate_hz": 10,
                "episode_length_s": 1,
                "action": {"translation_m": 0.02},
                "workspace": {"min_m": [0, -1, 0], "max_m": [1, 1, 1]},
                "observation": [{"name": "gripper_width"}],
                "cameras": sizes,
            },
            Task,
        )


@pytest.fixture
def path(made, tmp_path):
    path = tmp_path / "squares.safetensors"
    made.classifier.save(path)
    return str(path)


def test_the_factory_makes_it_for_the_robots_cameras(path, observe):
    env: RobotEnv = Environment(front=(24, 32), top=(8, 8))
    reward = make_classifier_reward(env, {"model": path, "needed": 1, "window": 1})
    assert reward.reward(observe(True, np.random.default_rng(0))).success


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ({"wrist": (24, 32)}, "camera 'front', but task 'squares' has 'wrist'"),
        ({"front": (64, 64)}, r"\[64, 64, 3\]"),
    ],
)
def test_other_cameras_are_refused(path, cameras, message):
    with pytest.raises(InputError, match=message):
        make_classifier_reward(Environment(**cameras), {"model": path})


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, r"reward\.config\.model=FILE"),
        ({"model": None}, r"reward\.config\.model=FILE"),
        ({"model": "absent.safetensors"}, "no classifier absent"),
        ({"model": "x", "votes": 3}, "votes.*known are model, needed, threshold, window"),
        ({"model": "x", "needed": 9}, "needed 9"),
    ],
)
def test_a_configuration_that_does_not_fit(config, message):
    with pytest.raises(InputError, match=message):
        make_classifier_reward(Environment(front=(24, 32)), config)
