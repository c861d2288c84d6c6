"""The twin's side of the deploy gate: a process that evaluates the policies it is handed, as nobody's neighbour."""

import os
import sys

import msgspec
import torch
from safetensors import SafetensorError

from agent.actor import EVALUATION_SEED
from agent.algorithm_config import make_policy
from agent.evaluation import evaluate
from agent.fitness import UnfitActionError
from agent.weights import decode_weights
from controllers.config import InputError
from journeyman.config import ResetPolicyConfig, RewardModelConfig, RobotConfig, RunConfig
from journeyman.deploy_gate import Judged, receive, send
from journeyman.wiring import make_env, make_spec

_LESS_URGENT = 10  # Of niceness: the control loop, and the learner, come first.


def on_twin(config: RunConfig) -> RunConfig:
    """The same task on the gate's twin, judged by what the twin knows."""
    gate = config.deploy_gate
    assert gate.factory is not None
    robot = RobotConfig(name=gate.name, factory=gate.factory, config=gate.config, simulated_time=True)
    return msgspec.structs.replace(config, robot=robot, reward=RewardModelConfig(), reset=ResetPolicyConfig())


def main() -> int:
    """Answer every message of weights until standard input ends."""
    os.nice(_LESS_URGENT)
    torch.set_num_threads(1)
    # Whatever prints must not print into the answers.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    questions = sys.stdin.buffer
    first = receive(questions)
    if first is None:
        return 0
    config = on_twin(msgspec.json.decode(first, type=RunConfig))
    env = make_env(config)
    spec = make_spec(env)
    policy = make_policy(config.algorithm, spec, config.seed)
    while (payload := receive(questions)) is not None:
        try:
            policy.load_weights(decode_weights(payload))
            episodes = config.deploy_gate.episodes
            judged = Judged(evaluate(env, policy, spec, episodes=episodes, seed=EVALUATION_SEED))
        except UnfitActionError as error:
            judged = Judged(problem=f"on the twin it gave {error}")
        except (SafetensorError, RuntimeError, LookupError, ValueError) as error:
            judged = Judged(problem=" ".join(str(error).split())[:200])
        send(answers, msgspec.json.encode(judged))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f"deploy_gate: {error}")
    except BrokenPipeError:
        sys.exit(0)  # The actor has ended.
