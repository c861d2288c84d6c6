"""Likeness to goals: of a square that moves to the right of the image, seen by a backbone that knows nothing of it."""

from types import SimpleNamespace

import cv2
import gymnasium
import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from agent.backbones import ResNet10Backbone
from agent.encoders import EncoderConfig
from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.goal_image import BackboneEmbedding, GoalImageJudge, make_goal_image_reward, read_goals
from robot_env.robot import RobotError
from robot_env.task import RewardConfig

STATE_NAMES = ("gripper_width", "goal")


def make_spec(height=24, width=32, cameras=("front", "wrist")):
    spaces = {"state": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)}
    spaces |= {name: gymnasium.spaces.Box(0, 255, (height, width, 3), np.uint8) for name in cameras}
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (2,), np.float32))


SPEC = make_spec()


def make_env(spec=SPEC):
    return SimpleNamespace(
        observation_space=spec.observation_space,
        action_space=spec.action_space,
        state_names=STATE_NAMES,
        task=SimpleNamespace(reward=RewardConfig()),
    )


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Random weights: even those keep apart what looks different."""
    torch.set_num_threads(1)
    path = tmp_path_factory.mktemp("weights") / "resnet10.safetensors"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_file(ResNet10Backbone().state_dict(), path)
    return {"kind": "resnet10", "weights": str(path), "frozen": True, "precision": "float32"}


def film(rng, moves=True):
    front, wrist = (rng.integers(100, 104, (8, 24, 32, 3), np.uint8) for _ in range(2))
    for step, image in enumerate(front):
        left = 3 * step if moves else 12
        image[8:16, left : left + 8] = (240, 120, 20)
    return {"state": np.zeros((8, 2), np.float32), "front": front, "wrist": wrist}


def episodes(count=6, seed=0, moves=True):
    rng = np.random.default_rng(seed)
    return [SimpleNamespace(observations=film(rng, moves), success=True) for _ in range(count)]


def at(observations, step):
    return {key: values[step] for key, values in observations.items()}


def test_nearer_to_the_goal_is_paid_better_and_success_is_recognised(backbone):
    reward = make_goal_image_reward(make_env(), {"encoder": backbone, "needed": 1, "window": 1})
    reward.learn(episodes())
    fresh = film(np.random.default_rng(9))
    paid = [reward.reward(at(fresh, step)) for step in range(8)]
    assert [p.success for p in paid] == 7 * [False] + [True]
    assert paid[0].value < -0.8
    assert paid[-1].value == 0.0
    assert paid[6].value > paid[3].value


def test_an_episodes_own_end_is_no_goal_for_itself(backbone):
    embedding = BackboneEmbedding(EncoderConfig(**backbone), SPEC, ("front",))
    seen = [episode.observations for episode in episodes(3)]
    held_out = GoalImageJudge(embedding).learn(seen)
    assert all(nearness[-1] < 0.0 for nearness in held_out)
    judge = GoalImageJudge(embedding)
    judge.learn(seen)
    # Once learned, it is: at no distance.
    assert judge.nearness(seen[0])[-1] == pytest.approx(0.0, abs=1e-3)


def test_only_the_cameras_that_are_named_are_looked_at(backbone):
    judge = GoalImageJudge(BackboneEmbedding(EncoderConfig(**backbone), SPEC, ("front",)))
    judge.learn([episode.observations for episode in episodes(3)])
    seen = film(np.random.default_rng(5))
    other = {**seen, "wrist": 255 - seen["wrist"]}
    assert np.array_equal(judge.nearness(seen), judge.nearness(other))


def write_goals(folder, observations, count=2):
    for name in ("front", "wrist"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(
                str(folder / name / f"{number}.png"), cv2.cvtColor(observations[name][-1], cv2.COLOR_RGB2BGR)
            )
    return folder


def test_goals_may_be_files(backbone, tmp_path):
    goal = film(np.random.default_rng(3))
    folder = write_goals(tmp_path / "goals", goal)
    read = read_goals(folder, make_spec())
    assert np.array_equal(
        read["front"], np.stack([goal["front"][-1]] * 2)
    )  # The very image, in the right colours.
    reward = make_goal_image_reward(make_env(), {"encoder": backbone, "goals": str(folder)})
    reward.learn(episodes())
    assert reward.reward(at(goal, -1)).terms["progress"] == 1.0
    assert reward.reward(at(goal, 0)).terms["progress"] < 0.2


def test_a_success_classifier_may_be_the_one_who_looks(made, observe, tmp_path, small):
    made.classifier.save(tmp_path / "model")
    reward = make_goal_image_reward(make_env(), {"model": str(tmp_path / "model"), "needed": 1, "window": 1})
    rng = np.random.default_rng(4)
    demonstrations = []
    for _ in range(8):
        frames = [observe(step == 5, rng) for step in range(6)]
        seen = {key: np.stack([frame[key] for frame in frames]) for key in frames[0]}
        demonstrations.append(SimpleNamespace(observations=seen, success=True))
    reward.learn(demonstrations)
    verdicts = [
        [reward.reward(observe(success, rng)).success for _ in range(20)] for success in (True, False)
    ]
    assert sum(verdicts[0]) >= 15
    assert sum(verdicts[1]) <= 4


def test_images_that_never_change_are_refused(backbone):
    reward = make_goal_image_reward(make_env(), {"encoder": backbone})
    still = film(np.random.default_rng(0), moves=False)
    same = {key: np.repeat(values[:1], 8, 0) for key, values in still.items()}
    with pytest.raises(InputError, match="only 0 of 4 demonstrations end nearer to the goal"):
        reward.learn([SimpleNamespace(observations=same, success=True) for _ in range(4)])


def test_a_missing_image_stops_the_robot(backbone):
    reward = make_goal_image_reward(make_env(), {"encoder": backbone})
    reward.learn(episodes())
    seen = at(film(np.random.default_rng(0)), 0)
    del seen["wrist"]
    with pytest.raises(RobotError, match="'wrist' is nothing"):
        reward.reward(seen)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({}, "either encoder, .*, or model"),
        ({"encoder": {"kind": "timm/resnet18"}, "model": "x"}, "and not both"),
        ({"encoder": {"kind": "conv"}}, "encoder.kind conv must be pretrained and frozen"),
        ({"encoder": {"kind": "timm/resnet18", "cache": True}}, "encoder.cache is the replay's"),
        ({"model": "x", "cameras": ["front"]}, "a classifier has its own"),
        ({"model": "absent"}, "There is no classifier absent"),
        ({"encoder": {"kind": "timm/resnet18"}, "goal": "x"}, "`goal`; known are cameras, encoder"),
        ({"encoder": {"kind": "timm/resnet18"}, "cameras": ["top"]}, r"names \['top'\], but the task has"),
        ({"encoder": {"kind": "timm/resnet18"}, "cameras": []}, "nothing to judge by"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(config, words):
    with pytest.raises(InputError, match=words):
        make_goal_image_reward(make_env(), config)


def test_a_task_without_cameras_is_refused(backbone):
    with pytest.raises(InputError, match="there are no cameras"):
        make_goal_image_reward(make_env(make_spec(cameras=())), {"encoder": backbone})


def test_goals_that_are_none_are_refused(tmp_path):
    goal = film(np.random.default_rng(3))
    spec = make_spec()
    with pytest.raises(InputError, match=r"has no images front/\*\.png"):
        read_goals(tmp_path, spec)
    folder = write_goals(tmp_path / "goals", goal)
    with pytest.raises(
        InputError, match=r"of shape \[24, 32, 3\], but the camera's images have \[12, 16, 3\]"
    ):
        read_goals(folder, make_spec(12, 16))
    (folder / "wrist" / "1.png").write_text("this is no image")
    with pytest.raises(InputError, match=r"1\.png is no image"):
        read_goals(folder, spec)
    (folder / "wrist" / "1.png").unlink()
    with pytest.raises(InputError, match=r"unequal numbers of images .*'wrist': 1"):
        read_goals(folder, spec)
