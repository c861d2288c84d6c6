"""Builds the parts of a run from its configuration, in one visible place each."""

import hashlib
import inspect
import os
import threading
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import gymnasium
import msgspec
import numpy as np
import torch

from agent.actor import Actor, Agent, episode_seed
from agent.algorithm import KeepsFeatures, NeedsReturns, RewardLearner
from agent.algorithm_config import make_algorithm, make_policy
from agent.config import InputError
from agent.demonstrations import Demonstrations
from agent.frames import Convert
from agent.hindsight import Goals
from agent.journal import Journal, JournalReader
from agent.learner import Learner
from agent.memory import keep_freed_memory
from agent.parallel.ranks import Ranks
from agent.parallel.shared import SharedAlgorithm
from agent.prefetch import Prefetcher
from agent.processor import use_processor
from agent.reading import read_steps
from agent.record_log import RecordLog
from agent.replay import MixedSampler, ReplayBuffer, replay_bytes
from agent.reports import KINDS, OTHER, admitted
from agent.sampling import draw_as
from agent.team import LearnerTeam
from agent.transition import Provenance, Records, TransitionSpec
from agent.transport.client import ActorClient
from agent.transport.clients import ClientGroup
from agent.transport.curve import ClientKeys, ServerKeys
from agent.transport.messages import MalformedMessageError, Report, decode_report
from agent.transport.quarantine import Quarantine
from agent.transport.server import LearnerServer
from agent.transport.spool import SpoolLimits
from agent.turns import Observer
from controllers.loading import load_attribute
from journeyman.config import RewardModelConfig, RunConfig
from journeyman.demonstrations import demonstration_folder, load_episodes, read_demonstrations
from journeyman.deploy_gate import Memory, TwinGate
from journeyman.help import make_file_operator
from journeyman.initialisation import initial_checkpoint
from journeyman.run_directory import RunDirectory
from journeyman.sampling import goals_in_hindsight
from journeyman.several_steps import make_reader
from robot_env.contracts import DemonstratedRewardModel, RewardModel
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Teleoperator


def make_env(config: RunConfig, render: bool = False, run: RunDirectory | None = None) -> RobotEnv:
    """The environment of a run, with the reward model and the reset that it chose.

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
        _replace_reward(env, config)
        _let_reward_learn(env, config, demonstration_folder(config, run))
    if config.reset.factory is not None:
        _replace_reset(env, config, config.reset.factory, run)
    return env


def make_teleoperator(config: RunConfig, env: RobotEnv) -> Teleoperator | None:
    """What a person drives by, not yet open; None if the run has none.

    Raises:
        InputError: Its factory does not exist, or refuses its configuration or the task.
    """
    path = config.device.factory
    if path is None:
        return None
    factory = load_factory(path, "device.factory", env, config.device.config)
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


def load_factory(path: str, key: str, *arguments: object) -> Any:
    """The function that `key` names by its path; one that takes `arguments`."""
    factory = load_attribute(path, f"{key} {path!r}")
    try:
        inspect.signature(factory).bind(*arguments)
    except (TypeError, ValueError) as error:
        raise InputError(f"{key} {path!r} cannot be called: {error}.") from None
    return factory


def make_reward(env: RobotEnv, chosen: RewardModelConfig, key: str) -> RewardModel:
    """The reward model that a configuration names.

    Args:
        env: What it judges.
        chosen: Names a factory.
        key: Of the configuration, for messages.

    Raises:
        InputError: The factory does not exist, refuses its configuration, or makes something else.
    """
    path = chosen.factory
    assert path is not None
    model = load_factory(path, f"{key}.factory", env, chosen.config)(env, chosen.config)
    if not callable(getattr(model, "reward", None)):
        raise InputError(f"{key}.factory {path!r} makes no reward model; name one that does.")
    return cast(RewardModel, model)


def _replace_reward(env: RobotEnv, config: RunConfig) -> None:
    """Let another model judge. What the twin itself knows stays beside it as the truth."""
    model = make_reward(env, config.reward, "reward")
    if config.robot.provenance == "twin":
        env.truth = env.reward_model
    env.reward_model = model


def _replace_reset(env: RobotEnv, config: RunConfig, path: str, run: RunDirectory | None) -> None:
    """Let something else bring the scene to a start state; it may ask a person."""
    operator = make_file_operator(run.path if run else None, config.actor.name)
    factory = load_factory(path, "reset.factory", env, config.reset.config, operator)
    policy = factory(env, config.reset.config, operator)
    if not callable(getattr(policy, "reset", None)):
        raise InputError(f"reset.factory {path!r} makes no reset policy; name one that does.")
    env.reset_policy = policy


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
        env.reward_model.learn(load_episodes(folder, config, env))
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
    returns_discount: float | None = None,
    goals: Goals | None = None,
) -> MixedSampler:
    """Demonstrations and replay, the latter and the interventions rebuilt from the log."""
    capacity, interventions = replay_capacities(config, spec)
    read = make_reader(config, goals)
    kept = (keep, returns_discount, read is not read_steps)
    shown = Demonstrations(spec, demonstrations, interventions, config.seed + 1, *kept)
    replay = ReplayBuffer(spec, capacity, config.seed + 2, *kept)
    learner = config.learner
    read = draw_as(learner.sampling, replay, shown, demonstrations, read, learner.max_environment_steps)
    sampler = MixedSampler(spec, replay, shown, learner.demonstration_ratio, device, read)
    for records in log.records():
        sampler.append(records)
    return sampler


def make_learners(
    config: RunConfig,
    run: RunDirectory,
    address: str,
    listener: Callable[[Mapping[str, Any]], None] | None = None,
    ranks: Ranks | None = None,
) -> tuple[Learner | LearnerTeam, list[LearnerServer]]:
    """The learner with its replay rebuilt from the log, or one for each agent; and the servers that they listen on.

    Args:
        config: Of the run.
        run: Where it is.
        address: Of the first agent's learner.
        listener: Of the run's journal, see `agent.journal.Journal`.
        ranks: All processes that make its updates, if there are several.
    """
    use_processor(config.learner.threads)
    env = make_env(config, run=run)
    journal, changed = Journal(run.journal, listener), threading.Condition()
    learners = [
        _make_learner(config, run, env, name, agent_address(address, index), journal, changed, ranks)
        for index, name in enumerate(config.practice.agents)
    ]
    whole = learners[0] if len(learners) == 1 else LearnerTeam(learners, changed, journal)
    return whole, [learner.server for learner in learners]


def _make_learner(
    config: RunConfig,
    run: RunDirectory,
    env: RobotEnv,
    name: str,
    address: str,
    journal: Journal,
    changed: threading.Condition,
    ranks: Ranks | None,
) -> Learner:
    """The learner of one agent; its own data are in the run's folder of it."""
    spec = make_spec(env)
    device = make_device(config.learner.device)
    seed = config.seed + 1000 * config.practice.agents.index(name)
    algorithm = make_algorithm(config.algorithm, spec, device, seed)
    if ranks is not None:
        algorithm = SharedAlgorithm(algorithm, config.algorithm, spec, device, ranks)
    demonstrations = read_demonstrations(demonstration_folder(config, run, name), config, env, spec)
    keep = algorithm.kept_of_frames if isinstance(algorithm, KeepsFeatures) else None
    home = run.agent(name)
    log = RecordLog.open(home.replay_log, spec.dtype)
    discount = algorithm.returns_discount if isinstance(algorithm, NeedsReturns) else None
    sampler = make_sampler(
        config, spec, demonstrations, log, device, keep, discount, goals_in_hindsight(config, env)
    )
    caught_up = _catch_up(journal, run, log, name)
    keys, quarantine = server_keys(config), Quarantine(home.quarantine, spec)
    server = LearnerServer(
        address,
        spec,
        task_description(config, name),
        run_id=run.identity(),
        record_log=log,
        quarantine=quarantine,
        keys=keys,
        limits=config.transport.limits,
        sync=config.transport.sync,
        changed=changed,
    )
    checkpoints = home.checkpoints(config.learner.keep_checkpoints)
    reward = make_reward_learner(config, env, spec, demonstrations, device)
    prefetcher = Prefetcher(sampler, ahead=device.type != "cpu")
    learner = Learner(
        config.learner, algorithm, prefetcher, server, checkpoints, journal, reward, name, quarantine
    )
    for report in caught_up:
        learner.note_evaluation(report)
    if not learner.resume() and (initial := initial_checkpoint(config, name)) is not None:
        learner.begin_from(initial)
    return learner


def agent_address(address: str, index: int) -> str:
    """Where the learner of the agent with this number listens: on the next port, or beside the first one's socket.

    Raises:
        InputError: The address has no port to count from.
    """
    if index == 0 or address.endswith(":*"):
        return address
    if address.startswith("ipc://"):
        return f"{address}-{index}"
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise InputError(f"transport.address {address!r} must end in a port, such as tcp://127.0.0.1:5488.")
    return f"{host}:{int(port) + index}"


def make_actor(
    config: RunConfig,
    env: gymnasium.Env[Any, Any],
    robot_env: RobotEnv,
    spools: Mapping[str, Path],
    address: str,
    observer: Observer | None = None,
) -> tuple[Actor, ClientGroup]:
    """The actor in `env`, with `robot_env` inside it, and the clients that it speaks through.

    Args:
        config: Of the run.
        env: To act in.
        robot_env: Inside it.
        spools: Folder of each agent.
        address: Of the first agent's learner.
        observer: Is told what happens.
    """
    torch.set_num_threads(1)
    keep_freed_memory()
    spec = make_spec(robot_env)
    agents = {
        name: _make_agent(config, spec, name, spool, agent_address(address, index))
        for index, (name, spool) in enumerate(spools.items())
    }
    actor = Actor(
        config.actor,
        env,
        agents,
        spec,
        seed=config.seed,
        provenance=Provenance[config.robot.provenance.upper()],
        lockstep=config.robot.simulated_time,
        park=robot_env.robot.stop,
        fault=RobotUnavailableError,
        observer=observer,
    )
    return actor, actor.clients


def _make_agent(config: RunConfig, spec: TransitionSpec, name: str, spool: Path, address: str) -> Agent:
    transport = config.transport
    client = ActorClient(
        address,
        config.actor.name,
        spec,
        task_description(config, name),
        spool,
        keys=_client_keys(config),
        limits=SpoolLimits(int(transport.spool_gb * 1e9), int(transport.spare_disk_gb * 1e9), transport.sync),
    )
    # A restarted actor must not explore with the same noise again, nor one agent with another's.
    entropy = np.random.SeedSequence(
        episode_seed(config.seed, config.actor.name + name, client.next_sequence)
    )
    policy = make_policy(config.algorithm, spec, int(entropy.generate_state(1)[0]))
    gate = TwinGate(config, Memory(spool, lambda: client.stream)) if config.deploy_gate.factory else None
    return Agent(policy, client, gate=gate)


def task_description(config: RunConfig, agent: str = "") -> dict[str, str]:
    """What learner and actor must agree on: the whole task, the networks, who judges by which files, and for whom."""
    flat: dict[str, str] = {}

    def walk(prefix: str, value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                walk(f"{prefix}.{key}", inner)
        else:
            flat[prefix] = str(value)

    walk("task", msgspec.to_builtins(config.task))
    walk("algorithm", msgspec.to_builtins(config.algorithm))
    if agent:
        flat["agent"] = agent
    rewards = {"reward": config.reward}
    for name, task in config.practice.tasks.items():
        flat[f"practice.{name}.next"], flat[f"practice.{name}.requires"] = str(task.next), str(task.requires)
        rewards[f"practice.{name}.reward"] = task.reward
    for key, reward in rewards.items():
        flat[f"{key}.name"] = reward.name
        # Its files may lie elsewhere on another machine.
        for part, value in reward.config.items():
            if isinstance(value, str) and Path(value).is_file():
                digest = hashlib.sha256(Path(value).read_bytes()).hexdigest()
                flat[f"{key}.config.{part}"] = digest[:12]
    return flat


def _catch_up(journal: Journal, run: RunDirectory, log: RecordLog, agent: str) -> list[Report]:
    """Write the reports that a killed learner had stored but not yet written down, and return them."""
    label = {"agent": agent} if agent else {}
    kinds = (*KINDS, OTHER)
    entries = JournalReader(run.journal).new()
    written = sum(entry["kind"] in kinds and entry.get("agent", "") == agent for entry in entries)
    reports = [admitted(report) for report in stored_reports(log)[written:]]
    for report in reports:
        journal.write_report({**report, **label})
    return reports


def stored_reports(log: RecordLog) -> list[Report]:
    """All reports in a log, in the order of writing.

    Raises:
        InputError: One is none.
    """
    try:
        return [decode_report(encoded) for encoded in log.reports()]
    except MalformedMessageError as error:
        raise InputError(
            f"{log.path} holds a report that cannot be read ({error}); restore it from a copy."
        ) from None


def server_keys(config: RunConfig) -> ServerKeys | None:
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
