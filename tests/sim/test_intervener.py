import itertools

import numpy as np
import pytest

from controllers.config import InputError
from robot_env.assisted_env import AssistedEnv
from sim.intervener import make_intervener

IDLE = np.array([0.0, 0.0, 0.0, 1.0], np.float32)


def steps_held(env, seed=0):
    """Which steps of an episode of a policy that does nothing are the person's, and whether it succeeded."""
    env.reset(seed=seed)
    held, done, info = [], False, {}
    while not done:
        _, _, terminated, truncated, info = env.step(IDLE)
        held.append(info["intervened"])
        done = terminated or truncated
    return held, info["success"]


def test_it_lets_the_policy_try_and_then_saves_the_episode(lift_cube):
    env = AssistedEnv(lift_cube, make_intervener(lift_cube, {"patience_s": 1.5, "noise": 0.0}))
    held, success = steps_held(env)
    assert success
    assert held == [False] * 15 + [True] * (len(held) - 15)


def test_it_hands_back_and_takes_over_again(lift_cube):
    env = AssistedEnv(lift_cube, make_intervener(lift_cube, {"patience_s": 0.5, "hold_s": 0.3, "noise": 0.0}))
    held, _ = steps_held(env)
    runs = [(key, len(list(group))) for key, group in itertools.groupby(held)]
    assert runs[:4] == [(False, 5), (True, 3), (False, 5), (True, 3)]


def test_it_helps_half_as_often_after_its_half_life(lift_cube):
    intervener = make_intervener(lift_cube, {"half_life_steps": 500.0, "patience_s": 0.0})

    def share():
        state, helped = lift_cube.robot.observe(), 0
        for _ in range(400):
            intervener._willing = False
            intervener.restart(state)
            helped += intervener._willing
        return helped / 400

    lift_cube.reset(seed=0)
    assert share() == 1.0
    for _ in range(500):
        intervener.get_action(lift_cube.state, IDLE)
    assert share() == pytest.approx(0.5, abs=0.08)


def test_the_same_seed_chooses_the_same(lift_cube):
    runs = []
    for _ in range(2):
        env = AssistedEnv(lift_cube, make_intervener(lift_cube, {"chance": 0.5, "seed": 3}))
        runs.append([steps_held(env, seed) for seed in range(6)])
    assert runs[0] == runs[1]


@pytest.mark.parametrize("config", [{"patience": 1}, {"chance": 2}, {"half_life_steps": 0}, {"hold_s": -1}])
def test_what_cannot_be_meant_is_refused(lift_cube, config):
    with pytest.raises(InputError, match=next(iter(config))):
        make_intervener(lift_cube, config)
