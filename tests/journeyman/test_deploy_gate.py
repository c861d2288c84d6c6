import threading
import time
from contextlib import closing

import msgspec
import pytest
import torch

from agent.algorithm_config import make_algorithm
from agent.config import InputError
from agent.evaluation import Evaluation
from agent.fitness import Agent
from agent.weights import encode_weights
from journeyman.checks import check
from journeyman.config import compose
from journeyman.deploy_gate import Judged, Memory, TwinGate
from journeyman.evaluate import evaluate_newest
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env, make_spec

SMALL = [
    "task=reach",
    "deploy_gate=twin",
    "algorithm.config.hidden_sizes=[8]",
    "algorithm.config.compile=false",
]


def succeeded(successes, episodes=10):
    return Judged(
        Evaluation(
            episodes=episodes, successes=successes, success_rate=successes / episodes, success_low=0.0,
            success_high=1.0, mean_return=0.0, mean_length=1.0,
        )
    )  # fmt: skip


class Scripted(TwinGate):
    """A gate whose twin answers what its weights say, when it is let."""

    def __init__(self, config, memory=None):
        self.let, self.tried = threading.Semaphore(0), []
        super().__init__(config, memory)

    def _try(self, weights):
        self.tried.append(weights)
        self.let.acquire()
        return succeeded(weights[0]) if weights else Judged(problem="no weights")

    def close(self):
        self.let.release(100)
        super().close()


@pytest.fixture
def verdict(wait_until):
    """The oldest one of a gate, when it is there."""
    return lambda gate: wait_until(lambda: gate.judge(None), 60.0)


@pytest.fixture
def make_gate():
    gates = []

    def make(kind=Scripted, *overrides):
        gates.append(kind(compose([*SMALL, *overrides])))
        return gates[-1]

    yield make
    for gate in gates:
        gate.close()


def test_a_policy_that_is_worse_than_the_one_in_use_is_held_and_a_better_one_passes(make_gate, verdict):
    gate = make_gate(Scripted, "deploy_gate.margin=0.2", "deploy_gate.floor=0.3")
    gate.let.release(100)
    said = []
    for version, successes in enumerate([2, 5, 3, 2, 1, 8, 5, 6]):
        gate.judge((version, bytes([successes])))
        said.append(verdict(gate))
    passed = [one[0] for one in said if not isinstance(one, str)]
    assert passed == [1, 2, 5, 7]
    assert said[0] == (
        "Policy version 0 is held: it succeeds in 2 of 10 episodes on the twin, and deploy_gate.floor is 30%."
    )
    assert said[6] == (
        "Policy version 6 is held: it succeeds in 5 of 10 episodes on the twin, the one in use in 80%, and "
        "deploy_gate.margin is 20%."
    )
    gate.judge((9, b""))
    assert verdict(gate) == "Policy version 9 is held: no weights."


def test_the_control_loop_never_waits_and_only_the_newest_candidate_is_tried_next(make_gate, verdict):
    gate = make_gate()
    assert gate.judge((0, b"\x01")) is None
    while not gate.tried:
        time.sleep(0.005)
    for version in range(1, 50):
        assert gate.judge((version, bytes([version % 10]))) is None
    gate.let.release(2)
    assert verdict(gate) == (0, b"\x01")
    assert verdict(gate) == (49, b"\x09")
    assert gate.tried == [b"\x01", b"\x09"]


class Client:
    newest = None

    def latest_weights(self):
        newest, self.newest = self.newest, None
        return newest


class Policy:
    def load_weights(self, weights):
        self.value = float(weights["value"])


def test_an_agent_acts_by_nothing_that_did_not_pass():
    class Gate:
        def judge(self, newest):
            return self.answers.pop(0)

    gate, client = Gate(), Client()
    agent = Agent(Policy(), client, gate=gate)
    good, other = (encode_weights({"value": torch.tensor(value)}) for value in (0.5, 0.9))
    gate.answers = [None, (1, good), "held", None]
    client.newest = (1, good)
    assert agent.take_new_weights() is None
    assert not agent.is_fit
    assert agent.take_new_weights() is None
    assert (agent.policy_version, agent.policy.value, agent.is_fit) == (1, 0.5, True)
    client.newest = (2, other)
    assert agent.take_new_weights() == "held"
    assert agent.take_new_weights() is None
    assert (agent.policy_version, agent.policy.value) == (1, 0.5)


@pytest.mark.slow
def test_on_a_real_twin_in_a_process_of_its_own(make_gate, verdict):
    gate = make_gate(TwinGate, "deploy_gate.episodes=2", "task.episode_length_s=0.5")
    config = gate._config
    env = make_env(config)
    weights = make_algorithm(config.algorithm, make_spec(env), torch.device("cpu"), 0).policy_weights()
    env.close()
    good = encode_weights(weights)
    gate.judge((0, good))
    assert verdict(gate) == (0, good)
    broken = encode_weights({name: torch.full_like(value, torch.nan) for name, value in weights.items()})
    gate.judge((1, broken))
    assert verdict(gate) == "Policy version 1 is held: on the twin it gave an action that is not finite."
    gate.judge((2, b"no weights"))
    assert verdict(gate).startswith("Policy version 2 is held: ")
    gate._process.kill()
    gate._process.wait()
    gate.judge((3, good))
    assert "the twin's process ended (exit code -9)" in verdict(gate)
    gate.judge((4, good))
    assert verdict(gate) == (4, good)


def test_what_cannot_be_tried_is_refused_before_the_run():
    config = compose([*SMALL, "demonstrations.episodes=0"])
    check(config)
    with pytest.raises(InputError, match="deploy_gate=twin tries one policy"):
        check(
            compose(
                [
                    "deploy_gate=twin",
                    "task=relocate",
                    "practice=forward_backward",
                    "demonstrations.episodes=0",
                ]
            )
        )


@pytest.mark.parametrize("bad", ["episodes=0", "margin=2", "floor=-0.1"])
def test_nonsense_is_refused(bad):
    with pytest.raises(InputError, match=f"{bad.partition('=')[0]}"):
        compose([f"deploy_gate.{bad}"])


def test_the_next_process_of_an_actor_knows_what_a_policy_must_match_and_another_run_does_not(
    make_gate, tmp_path
):
    def answers(candidates, stream=b"s"):
        gate = Scripted(compose(SMALL), Memory(tmp_path, lambda: stream))
        gate.let.release(100)
        with closing(gate):
            return [gate.decide((0, bytes([successes]))) for successes in candidates]

    assert answers([8, 9]) == [None, None]
    assert "the one in use in 90%" in answers([5])[0]
    assert answers([8]) == [None]
    assert "the one in use in 80%" in answers([5])[0]
    assert answers([5], stream=b"t") == [None]
    (tmp_path / "deploy_gate.json").write_bytes(b"{")
    assert answers([2]) == [None]


class NoRobot:
    """An environment in which nothing may move."""

    def __init__(self, env):
        self.action_space, self.observation_space, self.robot = (
            env.action_space,
            env.observation_space,
            env.robot,
        )

    def __getattr__(self, name):
        raise AssertionError(f"{name} of the robot")


def test_no_evaluation_or_report_moves_the_robot_by_a_policy_that_the_gate_holds(tmp_path):
    config = compose([*SMALL, "deploy_gate.episodes=1", "deploy_gate.floor=1", "task.episode_length_s=0.2"])
    config = msgspec.structs.replace(
        config, robot=msgspec.structs.replace(config.robot, simulated_time=False)
    )
    env, run = make_env(config), RunDirectory(tmp_path)
    spec = make_spec(env)
    weights = make_algorithm(config.algorithm, spec, torch.device("cpu"), 0).policy_weights()
    run.checkpoints().save(7, weights, weights, {"blocks": 3})
    env.close()
    with pytest.raises(InputError, match=r"Policy version 3 is held: it succeeds in 0 of 1 .* was not moved"):
        evaluate_newest(config, run, NoRobot(env))
