"""Progress learned from demonstrations: of a point that goes to the origin, and of a square that goes to the right."""

from types import SimpleNamespace

import gymnasium
import msgspec
import numpy as np
import pytest
import torch

from agent.encoders import EncoderConfig
from agent.transition import TransitionSpec
from controllers.config import InputError
from reward_models.demonstrated import DemonstratedReward, read_config
from reward_models.progress import ProgressConfig, ProgressJudge, make_progress_reward
from robot_env.task import RewardConfig

STATE_NAMES = ("place.0", "place.1", "noise")
SMALL = ProgressConfig(updates=150, hidden_sizes=(16, 16), members=3)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    torch.set_num_threads(1)


def make_spec(**cameras):
    spaces = {"state": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32)}
    spaces |= {name: gymnasium.spaces.Box(0, 255, shape, np.uint8) for name, shape in cameras.items()}
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), gymnasium.spaces.Box(-1, 1, (2,), np.float32))


def walk(rng):
    """From a distance of 0.5 to 1 to the origin, 0.1 a step."""
    direction = rng.normal(size=2)
    direction /= np.linalg.norm(direction)
    distance = np.arange(round(10 * rng.uniform(0.5, 1.0)), -1, -1) / 10
    return {"state": np.c_[distance[:, None] * direction, rng.normal(size=len(distance))].astype(np.float32)}


def walks(count=12, seed=0):
    rng = np.random.default_rng(seed)
    return [walk(rng) for _ in range(count)]


def test_it_says_how_many_steps_are_left():
    judge = ProgressJudge(ProgressConfig(state=("place",)), make_spec(), STATE_NAMES)
    held_out = judge.learn(walks())
    assert [len(nearness) for nearness in held_out] == [
        len(observations["state"]) for observations in walks()
    ]
    for observations in walks(20, seed=1):
        left = np.arange(len(observations["state"]))[::-1] / 10
        assert np.abs(judge.nearness(observations) + left).mean() < 0.1


def test_an_episode_is_tested_by_what_did_not_learn_from_it():
    config = ProgressConfig(members=2, updates=20)
    episodes, changed = walks(4), walks(4)
    changed[0]["state"] *= -2.0
    one, other = (ProgressJudge(config, make_spec(), STATE_NAMES).learn(seen) for seen in (episodes, changed))
    # Networks were shown episodes 1 and 3, or 0 and 2: only the second can tell.
    assert np.array_equal(one[2], other[2])
    assert not np.array_equal(one[1], other[1])
    assert not np.array_equal(one[3], other[3])


def test_the_most_pessimistic_network_counts():
    episodes = walks(6)
    judge = ProgressJudge(SMALL, make_spec(), STATE_NAMES)
    held_out = judge.learn(episodes)
    for observations, alone in zip(episodes, held_out, strict=True):
        assert (judge.nearness(observations) <= alone + 1e-6).all()


def test_the_same_demonstrations_and_seed_give_the_same_reward():
    judges = [ProgressJudge(SMALL, make_spec(), STATE_NAMES) for _ in range(2)]
    before = torch.random.get_rng_state()
    one, other = ([n.tolist() for n in judge.learn(walks(4))] for judge in judges)
    assert one == other
    assert torch.equal(before, torch.random.get_rng_state())
    assert one != [
        n.tolist()
        for n in ProgressJudge(read_config({"seed": 1}, ProgressConfig), make_spec(), STATE_NAMES).learn(
            walks(4)
        )
    ]


def test_what_was_learned_is_looked_up_again(tmp_path, monkeypatch):
    config = msgspec.structs.replace(SMALL, updates=20, cache=str(tmp_path / "cache"))
    first = ProgressJudge(config, make_spec(), STATE_NAMES)
    learned = first.learn(walks(4))
    (place,) = (tmp_path / "cache").iterdir()
    fit = ProgressJudge._fit
    monkeypatch.setattr(ProgressJudge, "_fit", lambda *_: pytest.fail("it was learned already"))
    again = ProgressJudge(config, make_spec(), STATE_NAMES)
    assert all(map(np.array_equal, learned, again.learn(walks(4))))
    assert np.array_equal(first.nearness(walks(1)[0]), again.nearness(walks(1)[0]))
    monkeypatch.setattr(ProgressJudge, "_fit", fit)
    place.write_bytes(b"damaged")
    ProgressJudge(config, make_spec(), STATE_NAMES).learn(walks(4))
    assert place.stat().st_size > 1000
    for other, episodes in ((config, walks(4, seed=1)), (msgspec.structs.replace(config, seed=1), walks(4))):
        ProgressJudge(other, make_spec(), STATE_NAMES).learn(episodes)
    assert len(list((tmp_path / "cache").iterdir())) == 3


def test_a_cache_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "cache").write_text("a file")
    config = msgspec.structs.replace(SMALL, updates=1, cache=str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"reward\.config\.cache .* cannot be written"):
        ProgressJudge(config, make_spec(), STATE_NAMES).learn(walks(4))


def test_what_is_left_out_is_not_looked_at():
    judge = ProgressJudge(
        read_config({"state": ["place"], "updates": 20}, ProgressConfig), make_spec(), STATE_NAMES
    )
    judge.learn(walks(4))
    observations = walks(1)[0]
    noisy = {"state": observations["state"] + np.array([0.0, 0.0, 100.0], np.float32)}
    assert np.array_equal(judge.nearness(observations), judge.nearness(noisy))


# From images.

IMAGES = ProgressConfig(
    state=(),
    members=2,
    updates=120,
    shift_pixels=0,
    learning_rate=3e-3,
    encoder=EncoderConfig(channels=(8, 8), features=16, precision="float32"),
)


def film(rng, moves=True):
    """A square that moves from left to right below noise."""
    images = rng.integers(80, 120, (9, 16, 24, 3), np.uint8)
    for step, image in enumerate(images):
        left = 2 * step if moves else 8
        image[4:12, left : left + 6] = 250
    return {"state": np.zeros((9, 3), np.float32), "front": images if moves else np.repeat(images[:1], 9, 0)}


def test_progress_is_seen_in_images():
    rng = np.random.default_rng(0)
    judge = ProgressJudge(IMAGES, make_spec(front=(16, 24, 3)), STATE_NAMES)
    judge.learn([film(rng) for _ in range(6)])
    errors = np.abs(judge.nearness(film(rng)) + np.arange(9)[::-1] / 8)
    assert errors.mean() < 0.1


def test_images_that_never_change_are_refused():
    rng = np.random.default_rng(0)
    judge = ProgressJudge(IMAGES, make_spec(front=(16, 24, 3)), STATE_NAMES)
    still = [SimpleNamespace(observations=film(rng, moves=False), success=True) for _ in range(4)]
    with pytest.raises(InputError, match="demonstrations end nearer to the goal than"):
        DemonstratedReward(judge, RewardConfig(), IMAGES).learn(still)


# Wrong input.


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"cameras": ["wrist"]}, r"reward\.config\.cameras names \['wrist'\], but the task has \['front'\]"),
        (
            {"state": ["cube"]},
            r"reward\.config\.state names \['cube'\], but the state of this task has place, noise",
        ),
        ({"state": [], "cameras": []}, "there is nothing to judge by"),
        ({"member": 3}, r"`member`; known are batch_size, cache, cameras, encoder"),
        ({"members": 1}, "members 1 must be at least 2"),
        ({"hidden_sizes": [0]}, r"hidden_sizes \(0,\) positive"),
        ({"learning_rate": 0.0}, "learning_rate 0.0 must lie in"),
        ({"shift_pixels": -1}, "shift_pixels -1 between 0 and 100"),
        ({"seed": -1}, "seed -1 must lie between"),
        ({"encoder": {"kind": "timm/resnet18", "cache": True}}, "encoder.cache is the replay's"),
    ],
)
def test_what_does_not_fit_the_task_is_refused(config, words):
    spec = make_spec(front=(16, 24, 3))
    env = SimpleNamespace(
        observation_space=spec.observation_space,
        action_space=spec.action_space,
        state_names=STATE_NAMES,
        task=SimpleNamespace(reward=RewardConfig()),
    )
    with pytest.raises(InputError, match=words):
        make_progress_reward(env, config)
