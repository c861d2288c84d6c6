"""The baseline of every report: a clone of the run's own demonstrations, evaluated as the run's policy is."""

from pathlib import Path

import msgspec
import torch

from agent.actor import EVALUATION_SEED
from agent.algorithm_config import AlgorithmConfig, load_algorithm, make_policy
from agent.config import InputError
from agent.evaluation import Evaluation, evaluate
from agent.replay import MixedSampler, ReplayBuffer
from agent.storage import write_atomically
from agent.weights import encode_weights
from controllers.config import InputError as RobotSideInputError
from journeyman.config import RunConfig
from journeyman.demonstrations import demonstration_folder, read_demonstrations
from journeyman.deploy_gate import raise_if_held
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_spec
from robot_env.env import RobotEnv

_CLONE = AlgorithmConfig(name="bc", algorithm="agent.bc.BC")
_FILE_NAME = "baseline.json"


def measure(
    config: RunConfig, directory: RunDirectory, env: RobotEnv, updates: int | None = None
) -> Evaluation | None:
    """Clone the demonstrations and evaluate the clone, once for each run.

    Args:
        config: Of the run.
        directory: Of the run; keeps the result.
        env: To evaluate in.
        updates: Gradient steps; those of `algorithm=bc` by default.

    Returns:
        None where it is not wanted, see `FinalEvaluationConfig.baseline`, or there is nothing to clone.
    """
    if not _is_wanted(config):
        return None
    path = directory.path / _FILE_NAME
    known = _read(path)
    if known is not None and known.episodes == config.evaluation.episodes:
        return known
    try:
        result = _clone_and_evaluate(config, directory, env, updates)
    except (InputError, RobotSideInputError) as error:
        print(f"No baseline: {error}")
        return None
    write_atomically(path, msgspec.json.encode(result))
    return result


def describe(result: Evaluation) -> str:
    """One line."""
    return (
        f"Baseline, behaviour cloning of the same demonstrations: {result.successes} of {result.episodes} "
        f"({result.success_rate:.0%}; 95 % interval {result.success_low:.0%} to {result.success_high:.0%})."
    )


def _is_wanted(config: RunConfig) -> bool:
    algorithm, _ = load_algorithm(config.algorithm)
    if not config.demonstrations.episodes or getattr(algorithm, "demonstrations_only", False):
        return False
    if config.practice.tasks:  # Clones that fail leave no scene for each other to start from.
        return False
    wanted = config.evaluation.baseline
    return wanted if wanted is not None else config.robot.simulated_time and not config.task.cameras


def _read(path: Path) -> Evaluation | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Evaluation)
    except (OSError, msgspec.MsgspecError):
        return None


def _clone_and_evaluate(
    config: RunConfig, directory: RunDirectory, env: RobotEnv, updates: int | None
) -> Evaluation:
    spec, cpu = make_spec(env), torch.device("cpu")
    shown = read_demonstrations(demonstration_folder(config, directory), config, env, spec)
    demonstrations = ReplayBuffer(spec, len(shown), config.seed)
    demonstrations.append(shown)
    sampler = MixedSampler(spec, ReplayBuffer(spec, 1, config.seed), demonstrations, 1.0, cpu)
    algorithm_class, parameters = load_algorithm(_CLONE)
    clone = algorithm_class(parameters, spec, cpu, config.seed)
    for _ in range(clone.offline_updates if updates is None else updates):
        clone.learn_offline(sampler.sample_demonstrations(clone.batch_size))
    policy = make_policy(_CLONE, spec, config.seed)
    weights = clone.policy_weights()
    raise_if_held(msgspec.structs.replace(config, algorithm=_CLONE), directory, 0, encode_weights(weights))
    policy.load_weights(weights)
    return evaluate(env, policy, spec, episodes=config.evaluation.episodes, seed=EVALUATION_SEED)
