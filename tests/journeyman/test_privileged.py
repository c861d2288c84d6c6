"""What only the twin knows: in observations for critics, in nothing that a real robot does or keeps."""

import numpy as np
import pytest

from agent.config import InputError
from agent.transition import PRIVILEGED
from controllers.config import InputError as RobotSideInputError
from journeyman.checks import check, refuse_unknown_privileged
from journeyman.config import compose
from journeyman.wiring import make_env, make_spec
from robot_env.contracts import PRIVILEGED as KEY

HIDDEN = "task.privileged=[{name: joint_velocity, scale: 0.5}]"


@pytest.fixture
def env():
    made = make_env(compose(["task=reach", HIDDEN]))
    yield made
    made.close()


def test_learner_and_robot_call_it_the_same():
    assert PRIVILEGED == KEY


def test_it_is_observed_beside_the_state_and_scaled(env):
    observation, _ = env.reset(seed=0)
    observation, *_ = env.step(np.full(env.action_space.shape, 0.5, np.float32))
    assert env.observation_space.contains(observation)
    expected = np.float32(env.state.joint_velocity_rad_s / 0.5)
    np.testing.assert_allclose(observation[PRIVILEGED], expected, rtol=1e-5)
    plain = make_env(compose(["task=reach"]))
    assert list(plain.observation_space.spaces) == ["state"]
    assert plain.state_names == env.state_names
    plain.close()


def test_a_robot_that_does_not_know_it_is_not_trained_on(env):
    config, spec = compose(["task=reach", HIDDEN]), make_spec(env)
    refuse_unknown_privileged(config, spec)
    with pytest.raises(
        InputError, match=r"robot=twin observes nothing of task\.privileged: train with robot=twin"
    ):
        refuse_unknown_privileged(config, spec.seen())


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["algorithm=cql", "demonstrations.episodes=0", "algorithm.config.offline_updates=0"],
            "algorithm=rlpd",
        ),
        (["task.privileged=[{name: nothing}]", "demonstrations.episodes=0"], "observes 'nothing'"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_a_run(overrides, words):
    with pytest.raises((InputError, RobotSideInputError), match=words):
        check(compose(["task=reach", HIDDEN, "learner.device=cpu", *overrides]))


def test_no_part_is_both_seen_and_hidden():
    with pytest.raises(
        InputError, match=r"privileged \['ee_position'\] must have no part twice, and none of"
    ):
        compose(["task=reach", "task.privileged=[{name: ee_position}]"])
