"""Builds the parts of a run from its configuration, in one visible place each."""

import hashlib
import inspect
import json
import os
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium
import msgspec
import numpy as np
import torch

from agent.actor import Actor, episode_seed
from agent.algorithm import KeepsFeatures, RewardLearner, load_algorithm, make_policy
from agent.config import InputError
from agent.demonstrations import Demonstrations
from agent.frames import Convert
from agent.journal import OTHER_REPORT, REPORT_KINDS, Journal, JournalReader
from agent.learner import Learner
from agent.prefetch import Prefetcher
from agent.record_log import RecordLog
from agent.replay import MixedSampler, ReplayBuffer, replay_bytes
from agent.transition import Provenance, Records, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.curve import ClientKeys, ServerKeys
from agent.transport.messages import decode_report
from agent.transport.server import LearnerServer
from agent.turns import Observer
from controllers.loading import load_attribute
from journeyman.config import RewardModelConfig, RunConfig
from journeyman.run_directory import RunDirectory
from robot_env.contracts import DemonstratedRewardModel
from robot_env.env import RobotEnv
from robot_env.episodes import Episode, load_demonstrations
from robot_env.robot import RobotUnavailableError
from robot_env.task import Task
from robot_env.teleoperator import Teleoperator

# Parts of a task that decide what the numbers of a transition mean.
_MEANING = ("action", "observation", "reward", "control_rate_hz")


def make_env(config: RunConfig, render: bool = False, run: RunDirectory | None = None) -> RobotEnv:
    """The environment of a run, with the reward model that it chose.

    Args:
        config: Of the run.
        render: Whether people watch.
        run: Where the run is. Without, a reward that learns from demonstrations only has those of a folder that the
            configuration names.

    Raises:
        InputError: A factory does not exist or refuses its configuration, or a reward the demonstrations.
    """
    module, _, name = config.robot.factory.rpartition(".")
    try:
        factory = getattr(import_module(module), name)
        inspect.signature(factory).bind(config.task, config.robot.config, render)
    except (ImportError, AttributeError, ValueError, TypeError) as error:
        raise InputError(f"robot.factory {config.robot.factory!r} cannot be loaded: {error}.") from None
    env = factory(config.task, config.robot.config, render)
    if not isinstance(env, RobotEnv):
        raise InputError(f"robot.factory {config.robot.factory!r} makes no environment; name one that does.")
    if config.reward.factory is not None:
        _replace_reward(env, config, config.reward.factory)
        _let_reward_learn(env, config, demonstration_folder(config, run))
    return env


def make_teleoperator(config: RunConfig, env: RobotEnv) -> Teleoperator | None:
    """What a person drives by, not yet open; None if the run has none.

    Raises:
        InputError: Its factory does not exist, or refuses its configuration or the task.
    """
    path = config.device.factory
    if path is None:
        return None
    factory = _load_factory(path, "device.factory", env, config.device.config)
    teleoperator = factory(env, config.device.config)
    if not callable(getattr(teleoperator, "get_action", None)):
        raise InputError(f"device.factory {path!r} makes no teleoperator; name one that does.")
    return cast(Teleoperator, teleoperator)


def at_the_pace_of_a_hand(config: RunConfig) -> RunConfig:
    """The same configuration, in which simulated time is no faster than the person who drives."""
    robot, device = config.robot, config.device
    if device.factory is None or not device.person or not robot.simulated_time:
        return config
    robot = msgspec.structs.replace(robot, config={**robot.config, "realtime": True}, simulated_time=False)
    return msgspec.structs.replace(config, robot=robot)


def _load_factory(path: str, key: str, *arguments: object) -> Any:
    """The function that `key` names by its path; one that takes `arguments`."""
    factory = load_attribute(path, f"{key} {path!r}")
    try:
        inspect.signature(factory).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} {path!r} cannot be called: {error}.") from None
    return factory


def _replace_reward(env: RobotEnv, config: RunConfig, path: str) -> None:
    """Let another model judge. What the twin itself knows stays beside it as the truth."""
    factory = _load_factory(path, "reward.factory", env, config.reward.config)
    model = factory(env, config.reward.config)
    if not callable(getattr(model, "reward", None)):
        raise InputError(f"reward.factory {path!r} makes no reward model; name one that does.")
    if config.robot.provenance == "twin":
        env.truth = env.reward_model
    env.reward_model = model


def _let_reward_learn(env: RobotEnv, config: RunConfig, folder: Path | None) -> None:
    """Show a reward that is made from demonstrations those of the run, where they are known already."""
    if not isinstance(env.reward_model, DemonstratedRewardModel):
        return
    if config.demonstrations.episodes == 0:
        raise InputError(
            f"reward={config.reward.name} learns from demonstrations, but demonstrations.episodes is 0: give some."
        )
    if folder is None:
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # Of torch's default, two threads beside other load collapse.
    try:
        env.reward_model.learn(_load_demonstrations(folder, config, env))
    finally:
        torch.set_num_threads(threads)


def make_reward_learner(
    config: RunConfig, env: RobotEnv, spec: TransitionSpec, demonstrations: Records, device: torch.device
) -> RewardLearner | None:
    """The reward that learns beside the policy, if the run has one.

    Raises:
        InputError: Its factory does not exist or refuses its configuration or the demonstrations.
    """
    path = config.reward.learner
    if path is None:
        return None
    factory = load_attribute(path, f"reward.learner {path!r}")
    learner: RewardLearner = factory(
        config.reward.learner_config, spec, env.state_names, demonstrations, device, config.seed + 3
    )
    return learner


def judged_by_task(config: RunConfig) -> RunConfig:
    """The same configuration with the robot's own reward, which is what demonstrations are recorded with."""
    return msgspec.structs.replace(config, reward=RewardModelConfig())


def make_spec(env: RobotEnv) -> TransitionSpec:
    """Layout of transitions of an environment."""
    return TransitionSpec.of(env.observation_space, env.action_space)


def make_device(name: str) -> torch.device:
    """The learner's device.

    Raises:
        InputError: A GPU is asked for and absent.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        if device.type not in ("cpu", "cuda"):
            raise RuntimeError
    except RuntimeError:
        raise InputError(
            f"learner.device {name!r} is not a device; choose auto, cpu, cuda or cuda:N."
        ) from None
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        raise InputError(
            f"learner.device {name!r} is asked for, but torch {torch.__version__} sees {count} CUDA devices here; "
            "set learner.device=cpu, or install a CUDA build of torch and a driver."
        )
    return device


def check(config: RunConfig) -> None:
    """Find out what is wrong before a folder is made or a process started.

    Raises:
        InputError: The robot, task, device, algorithm, reward or a demonstration cannot be used, or memory is short.
    """
    make_device(config.learner.device)
    _check_demonstrations(config)
    env = make_env(config)
    spec = make_spec(env)
    make_policy(config.algorithm, spec, config.seed)
    replay_capacities(config, spec)
    # Of demonstrations that may not be recorded yet one stands for all.
    one = np.zeros(min(1, config.demonstrations.episodes), spec.dtype)
    one["terminated"] = True
    make_reward_learner(config, env, spec, one, torch.device("cpu"))
    make_teleoperator(config, env)
    if config.demonstrations.folder and config.demonstrations.episodes:
        read_demonstrations(Path(config.demonstrations.folder), config, env, spec)
    env.close()


def _check_demonstrations(config: RunConfig) -> None:
    """See that an algorithm which learns from demonstrations has some, and nothing else where it must not.

    Raises:
        InputError: It has not, or the algorithm does not exist.
    """
    algorithm, parameters = load_algorithm(config.algorithm)
    ratio = config.learner.demonstration_ratio
    if getattr(algorithm, "demonstrations_only", False) and ratio != 1:
        raise InputError(
            f"learner.demonstration_ratio is {ratio:g}, but {config.algorithm.algorithm} learns from demonstrations "
            "alone: set it to 1."
        )
    updates = getattr(parameters, "warm_start_updates", 0)
    if updates and not config.demonstrations.episodes:
        raise InputError(
            f"algorithm.config.warm_start_updates is {updates}, but demonstrations.episodes is 0: there is nothing to "
            "imitate; use some demonstrations, or another algorithm without a warm start."
        )


def replay_capacities(config: RunConfig, spec: TransitionSpec) -> tuple[int, int]:
    """Online transitions to keep, and interventions beside them: no more than the run will have.

    Raises:
        InputError: They do not fit into this machine's memory.
    """
    online = min(config.learner.replay_capacity, max(1, config.learner.max_environment_steps))
    interventions = min(config.learner.intervention_capacity, online)
    kept = online + interventions
    needed, there = replay_bytes(spec, kept), os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        room = int(0.7 * kept * there / needed)
        raise InputError(
            f"A replay of {online:,} transitions and {interventions:,} interventions takes {needed / 1e9:.1f} GB, but "
            f"here are {there / 1e9:.1f}: set learner.replay_capacity to {max(room - interventions, room // 2):,} or "
            "less, or take smaller images."
        )
    return online, interventions


def make_sampler(
    config: RunConfig,
    spec: TransitionSpec,
    demonstrations: Records,
    log: RecordLog,
    device: torch.device,
    keep: Convert | None,
) -> MixedSampler:
    """Demonstrations and replay, the latter and the interventions rebuilt from the log."""
    capacity, interventions = replay_capacities(config, spec)
    shown = Demonstrations(spec, demonstrations, interventions, config.seed + 1, keep)
    replay = ReplayBuffer(spec, capacity, config.seed + 2, keep)
    sampler = MixedSampler(spec, replay, shown, config.learner.demonstration_ratio, device)
    for records in log.records():
        sampler.append(records)
    return sampler


def make_learner(config: RunConfig, run: RunDirectory, address: str) -> tuple[Learner, LearnerServer]:
    """The learner with its replay rebuilt from the log, and the server that it listens on."""
    torch.set_num_threads(config.learner.threads)
    # On x86 CPUs this routes float32 products to oneDNN at float32 accuracy, up to 2.5 times as fast.
    torch.set_float32_matmul_precision("medium")
    env = make_env(config, run=run)
    spec = make_spec(env)
    device = make_device(config.learner.device)
    algorithm_class, algorithm_config = load_algorithm(config.algorithm)
    algorithm = algorithm_class(algorithm_config, spec, device, config.seed)
    demonstrations = read_demonstrations(demonstration_folder(config, run), config, env, spec)
    keep = algorithm.kept_of_frames if isinstance(algorithm, KeepsFeatures) else None
    log = RecordLog.open(run.replay_log, spec.dtype)
    sampler = make_sampler(config, spec, demonstrations, log, device, keep)
    journal = Journal(run.journal)
    _catch_up(journal, run, log)
    task, keys = task_description(config), _server_keys(config)
    server = LearnerServer(address, spec, task, run_id=run.identity(), record_log=log, keys=keys)
    checkpoints = run.checkpoints(config.learner.keep_checkpoints)
    reward = make_reward_learner(config, env, spec, demonstrations, device)
    prefetcher = Prefetcher(sampler, ahead=device.type != "cpu")
    learner = Learner(config.learner, algorithm, prefetcher, server, checkpoints, journal, reward)
    learner.resume()
    return learner, server


def make_actor(
    config: RunConfig,
    env: gymnasium.Env[Any, Any],
    robot_env: RobotEnv,
    spool: Path,
    address: str,
    observer: Observer | None = None,
) -> tuple[Actor, ActorClient]:
    """The actor in `env`, with `robot_env` inside it, and the client that it speaks through."""
    torch.set_num_threads(1)
    spec = make_spec(robot_env)
    client = ActorClient(
        address, config.actor.name, spec, task_description(config), spool, keys=_client_keys(config)
    )
    # A restarted actor must not explore with the same noise again.
    entropy = np.random.SeedSequence(episode_seed(config.seed, config.actor.name, client.next_sequence))
    policy = make_policy(config.algorithm, spec, int(entropy.generate_state(1)[0]))
    actor = Actor(
        config.actor,
        env,
        policy,
        client,
        spec,
        seed=config.seed,
        provenance=Provenance[config.robot.provenance.upper()],
        lockstep=config.robot.simulated_time,
        park=robot_env.robot.stop,
        fault=RobotUnavailableError,
        observer=observer,
    )
    return actor, client


def task_description(config: RunConfig) -> dict[str, str]:
    """What learner and actor must agree on: the whole task, the networks, and who judges by which files."""
    flat: dict[str, str] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}", inner)
        else:
            flat[prefix] = str(value)

    walk("task", msgspec.to_builtins(config.task))
    walk("algorithm", msgspec.to_builtins(config.algorithm))
    flat["reward.name"] = config.reward.name
    # Its files may lie elsewhere on another machine.
    for key, value in config.reward.config.items():
        if isinstance(value, str) and Path(value).is_file():
            flat[f"reward.config.{key}"] = hashlib.sha256(Path(value).read_bytes()).hexdigest()[:12]
    return flat


def demonstration_folder(config: RunConfig, run: RunDirectory | None) -> Path | None:
    """Where the run's demonstrations are; None where it learns without, or there is no run yet to have them."""
    if config.demonstrations.episodes == 0:
        return None
    if config.demonstrations.folder:
        return Path(config.demonstrations.folder)
    return run.demonstrations if run else None


def read_demonstrations(
    folder: Path | None, config: RunConfig, env: RobotEnv, spec: TransitionSpec
) -> Records:
    """All transitions of the demonstrations that the run uses, in order, with the rewards that the run pays.

    Raises:
        InputError: A file is damaged or belongs to another observation or action space.
    """
    if folder is None:
        return np.zeros(0, spec.dtype)
    records = episode_records(_load_demonstrations(folder, config, env), spec)
    model = env.reward_model
    if isinstance(model, DemonstratedRewardModel):
        # Copied out of the records, whose fields lie as torch does not take them.
        following = {key: np.array(records[f"next_observation.{key}"]) for key in spec.observation_keys}
        records["reward"] = model.pay(following, records["terminated"])
    return records


def _load_demonstrations(folder: Path, config: RunConfig, env: RobotEnv) -> list[Episode]:
    images = {name: (camera.height, camera.width, 3) for name, camera in env.task.cameras.items()}
    episodes = load_demonstrations(folder, env.state_names, env.task.action.size, images)
    wanted = config.demonstrations.episodes
    if len(episodes) < wanted:
        raise InputError(
            f"{folder} holds {len(episodes)} demonstrations, but demonstrations.episodes is {wanted}: record more with "
            f"journeyman collect, or set demonstrations.episodes={len(episodes)}."
        )
    for episode in episodes[:wanted]:
        _refuse_other_meaning(folder, episode, config.task)
    return episodes[:wanted]


def _refuse_other_meaning(folder: Path, episode: Episode, task: Task) -> None:
    """Same sizes are not enough: actions, states and rewards of a demonstration must mean what the task's do."""
    ours, theirs = (json.loads(msgspec.json.encode(t)) for t in (task, episode.metadata.task))
    for key in _MEANING:
        if theirs.get(key) != ours[key]:
            raise InputError(
                f"Demonstrations in {folder} were recorded with task.{key} = {theirs.get(key)}, this run has "
                f"{ours[key]}: record them again, or use the same task."
            )


def episode_records(episodes: Sequence[Episode], spec: TransitionSpec) -> Records:
    """Episodes as transitions marked as demonstrations."""
    parts = [np.zeros(0, spec.dtype)]
    for number, episode in enumerate(episodes):
        rows = np.zeros(len(episode.actions), spec.dtype)
        for key in spec.observation_keys:
            rows[f"observation.{key}"] = episode.observations[key][:-1]
            rows[f"next_observation.{key}"] = episode.observations[key][1:]
        rows["action"], rows["reward"] = episode.actions, episode.rewards
        rows["terminated"], rows["truncated"] = episode.terminated, episode.truncated
        rows["provenance"], rows["episode"] = Provenance.DEMONSTRATION, number
        rows["step"] = np.arange(len(rows))
        parts.append(rows)
    return np.concatenate(parts)


def _catch_up(journal: Journal, run: RunDirectory, log: RecordLog) -> None:
    """Write the reports that a killed learner had stored but not yet written down."""
    written = sum(
        entry["kind"] in (*REPORT_KINDS, OTHER_REPORT) for entry in JournalReader(run.journal).new()
    )
    for encoded in list(log.reports())[written:]:
        journal.write_report(decode_report(encoded))


def _server_keys(config: RunConfig) -> ServerKeys | None:
    """`transport.keys` of a learner: a folder with `learner.key_secret` and the actors' keys in `actors/`."""
    if config.transport.keys is None:
        return None
    folder = Path(config.transport.keys)
    return ServerKeys(folder / "learner.key_secret", folder / "actors")


def _client_keys(config: RunConfig) -> ClientKeys | None:
    """`transport.keys` of an actor: a folder with `<name>.key_secret` and `learner.key`."""
    if config.transport.keys is None:
        return None
    folder = Path(config.transport.keys)
    return ClientKeys(folder / f"{config.actor.name}.key_secret", folder / "learner.key")
