"""Policies that must not be acted by, on their way to a robot that would feel it."""

import re
import threading
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch

from agent.actor import Actor, ActorConfig
from agent.evaluation import evaluate
from agent.fitness import Agent, UnfitActionError, UnfitObservationError
from agent.sac import SAC, SACConfig
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.server import LearnerServer
from agent.turns import Observer
from agent.weights import encode_weights

NAN = float("nan")


class FeelingEnv(gymnasium.Env):
    """Fails the test if an action cannot be done."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)

    def __init__(self):
        self.felt, self.resets, self.steps = [], 0, 0
        self.seen = lambda: np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        self.resets, self.steps = self.resets + 1, 0
        return self.seen(), {}

    def step(self, action):
        assert action.shape == (3,)
        assert np.isfinite(action).all()
        self.felt.append(float(action[0]))
        self.steps += 1
        return self.seen(), 0.0, False, self.steps == 5, {}


SPEC = TransitionSpec.of(FeelingEnv.observation_space, FeelingEnv.action_space)


class Scripted:
    """Acts by its weights: by their shape, too, if `value` is a vector."""

    def __init__(self):
        self.value, self.scale = None, None

    def act(self, observation, deterministic):
        value = self.value * (1.0 + observation["state"].sum())
        return np.full(3, value, np.float32) if self.scale == 1.0 else np.float32([value * self.scale])

    def load_weights(self, weights):
        self.value = float(weights["value"])
        self.scale = float(weights["scale"])


def weights(value, scale=1.0, **more):
    return encode_weights({"value": torch.tensor(value), "scale": torch.tensor(scale), **more})


class Overflowing(Scripted):
    """Finite weights above 1 make it answer with NaN, those below -1 with one number."""

    def act(self, observation, deterministic):
        if self.value > 1:
            return np.full(3, np.nan, np.float32)
        return super().act(observation, deterministic)[: 1 if self.value < -1 else None]


class Mailbox:
    """In place of a client: hands over what the test puts in."""

    newest = None

    def latest_weights(self):
        newest, self.newest = self.newest, None
        return newest


@pytest.mark.parametrize(
    ("payload", "told"),
    [
        (weights(NAN), "value is not finite"),
        (weights(float("-inf")), "value is not finite"),
        (weights([0.5, 0.5]), r"value is of shape \[2\] in it and of shape \[\] in the one before"),
        (weights(0.5, more=torch.zeros(1)), r"more is of shape \[1\] in it and absent in the one before"),
        (encode_weights({"value": torch.tensor(0.5)}), "scale is absent in it"),
        (b"\x80\x04pickled", "these are no weights"),
        (b"", "these are no weights"),
    ],
)
def test_unfit_weights_are_refused_once_for_each_version_and_the_old_ones_kept(payload, told):
    policy, mailbox = Scripted(), Mailbox()
    agent = Agent(policy, mailbox)
    mailbox.newest = (1, weights(0.25))
    assert agent.take_new_weights() is None
    mailbox.newest = (2, payload)
    refusal = agent.take_new_weights()
    assert re.search(told, refusal)
    assert refusal.startswith("Policy version 2 is refused")
    assert refusal.endswith("it goes on by version 1.")
    assert (agent.policy_version, agent.is_fit, policy.value) == (1, True, 0.25)
    mailbox.newest = (2, payload)
    assert agent.take_new_weights() is None
    assert (agent.policy_version, policy.value) == (1, 0.25)
    mailbox.newest = (3, weights(0.5))
    assert agent.take_new_weights() is None
    assert (agent.policy_version, policy.value) == (3, 0.5)


@pytest.mark.parametrize("payload", [weights(NAN), encode_weights({"other": torch.tensor(0.0)}), b"?"])
def test_unfit_first_weights_are_not_acted_by(payload):
    mailbox = Mailbox()
    agent = Agent(Scripted(), mailbox)
    mailbox.newest = (7, payload)
    assert agent.take_new_weights().endswith("it waits for others.")
    assert (agent.policy_version, agent.is_fit) == (-1, False)


def test_a_real_policy_that_half_took_weights_has_all_of_the_old_ones_again():
    config = SACConfig(hidden_sizes=(4,), compile=False)
    good = SAC(config, SPEC, torch.device("cpu"), 0).policy_weights()
    other = SAC(config, SPEC, torch.device("cpu"), 1).policy_weights()
    policy = SAC.make_policy(config, SPEC, 0)
    mailbox = Mailbox()
    agent = Agent(policy, mailbox)
    mailbox.newest = (0, encode_weights(good))
    assert agent.take_new_weights() is None
    before = policy.act({"state": np.ones(2, np.float32)}, True)
    load, asked = policy.load_weights, []

    def failing(weights):
        asked.append(weights)
        load(weights)
        if len(asked) == 1:
            raise RuntimeError("size mismatch\n  in the last layer")

    policy.load_weights = failing
    mailbox.newest = (1, encode_weights(other))
    assert "does not fit this policy (size mismatch in the last layer)" in agent.take_new_weights()
    assert np.array_equal(policy.act({"state": np.ones(2, np.float32)}, True), before)


class Witness(Observer):
    def __init__(self):
        self.events, self.states = [], []

    def on_event(self, text):
        self.events.append(text)

    def on_state(self, state, why):
        self.states.append((str(state), why))


class Rig:
    """An actor on a thread, and a learner's server in the hands of the test."""

    def __init__(self, until, folder, policy=None, **config):
        self.until = until
        self.env, self.witness, self.parked = FeelingEnv(), Witness(), []
        self.server = LearnerServer("tcp://127.0.0.1:*", SPEC, {})
        self.client = ActorClient(self.server.address, "actor-0", SPEC, {}, folder / "spool")
        self.policy = policy or Overflowing()
        plain = {"random_steps": 0, "evaluate_every": 0, "fault_retry_s": 0.01}
        self.actor = Actor(
            ActorConfig(**{**plain, **config}), self.env, {"": Agent(self.policy, self.client)}, SPEC, seed=5,
            provenance=Provenance.TWIN, lockstep=True, park=lambda: self.parked.append(len(self.env.felt)),
            observer=self.witness,
        )  # fmt: skip
        self.server.set_progress(0, 10**6)
        self.reports, self.error = [], None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            self.actor.run()
        except BaseException as error:
            self.error = error

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.actor.request_stop()
        self.thread.join(20)
        self.client.close()
        self.server.close()
        assert self.error is None

    def refusals(self):
        self.server.poll()
        self.reports += self.server.poll_reports()
        return [report["message"] for report in self.reports if report["kind"] == "policy_refused"]

    def wait_for(self, state):
        self.until(lambda: self.witness.states and self.witness.states[-1][0] == state)


@pytest.fixture
def make_rig(wait_until):
    return partial(Rig, wait_until)


@pytest.mark.parametrize(
    ("value", "told"),
    [(2.0, "gave an action that is not finite"), (-2.0, r"gave an action of shape (1,) instead of (3,)")],
)
@pytest.mark.parametrize("evaluate_every", [0, 1])
def test_an_unfit_action_never_reaches_the_robot_which_rests_until_newer_weights(
    tmp_path, make_rig, value, told, evaluate_every
):
    with make_rig(tmp_path, evaluate_every=evaluate_every, evaluation_episodes=1) as rig:
        rig.server.publish(0, weights(0.5))
        rig.thread.start()
        rig.until(lambda: len(rig.env.felt) >= 7)
        rig.server.publish(1, weights(value))
        rig.wait_for("waiting_for_policy")
        felt = len(rig.env.felt)
        assert rig.parked[-1] == felt
        assert set(rig.env.felt) == {0.5}
        rig.until(lambda: len(rig.refusals()) == 1)
        assert rig.refusals() == [f"Policy version 1 {told}: the robot is parked until there is a newer one."]
        rig.server.publish(2, weights(NAN))
        rig.until(lambda: len(rig.refusals()) == 2)
        assert rig.refusals()[1] == "Policy version 2 is refused: value is not finite; it waits for others."
        assert len(rig.env.felt) == felt
        rig.server.publish(3, weights(-0.25))
        rig.until(lambda: len(rig.env.felt) >= felt + 7)
        assert set(rig.env.felt[felt:]) == {-0.25}
        assert [event for event in rig.witness.events if "Policy" in event] == rig.refusals()


def test_unfit_weights_that_come_in_the_middle_disturb_nothing(tmp_path, make_rig):
    with make_rig(tmp_path) as rig:
        rig.server.publish(0, weights(0.5))
        rig.thread.start()
        rig.until(lambda: len(rig.env.felt) >= 3)
        rig.server.publish(1, weights(NAN))
        rig.until(lambda: len(rig.refusals()) == 1)
        felt = len(rig.env.felt)
        rig.until(lambda: len(rig.env.felt) >= felt + 12)
        assert set(rig.env.felt) == {0.5}
        assert rig.actor.policy_version == 0
        assert not rig.parked


def test_an_observation_that_is_not_finite_is_the_robots_fault_not_the_policys(tmp_path, make_rig):
    with make_rig(tmp_path) as rig:
        rig.env.seen = lambda: np.full(
            2, np.nan if len(rig.env.felt) >= 4 and rig.env.steps else 0, np.float32
        )
        rig.server.publish(0, weights(0.5))
        rig.thread.start()
        rig.until(lambda: rig.env.resets >= 4)
        assert "fault" in [state for state, _ in rig.witness.states]
        assert not rig.refusals()
        assert any("The observation of state is not finite." in event for event in rig.witness.events)


def test_an_evaluation_ends_with_a_sentence_before_the_robot_feels_anything():
    policy, env = Overflowing(), FeelingEnv()
    policy.value, policy.scale = 2.0, 1.0
    with pytest.raises(UnfitActionError, match="an action that is not finite"):
        evaluate(env, policy, SPEC, episodes=1, seed=0)
    env.seen = lambda: np.full(2, np.inf, np.float32)
    policy.value = 0.5
    with pytest.raises(UnfitObservationError, match="observation of state is not finite"):
        evaluate(env, policy, SPEC, episodes=1, seed=0)
    assert not env.felt
