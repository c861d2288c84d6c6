"""The configuration of a run: composed by Hydra, checked and frozen here, written beside the run."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import hydra
import msgspec
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from agent.actor import ActorConfig
from agent.algorithm_config import AlgorithmConfig
from agent.checkpoint import Which
from agent.config import Config, InputError
from agent.learner_config import LearnerConfig
from agent.storage import write_atomically
from agent.transport.limits import Limits
from controllers.config import choices, did_you_mean, explain
from robot_env.task import Task
from robot_env.trouble.watch import TroubleConfig

_GROUPS = ("task", "algorithm", "robot", "reward", "reset", "practice", "curriculum", "device", "deploy_gate")
_SEVERAL = ("sink",)  # Of these, several are chosen at a time: sink=[tensorboard,prometheus].

# What is looked for in a group, and is elsewhere.
_BEYOND = {"robot": " An arm behind ROS 2 is named by its YAML: robot=ros2 robot.config.arm={}."}


class RobotConfig(Config):
    """Which robot, real or twin.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(task, config, render) -> RobotEnv`.
        config: Parameters of the robot, read strictly by the factory.
        demonstrator: Factory of the environment in which the scripted expert records demonstrations; the robot's own
            if null.
        provenance: What its transitions are marked with.
        simulated_time: Whether time passes only while the environment steps, so that waiting costs nothing.
    """

    name: str
    factory: str
    config: dict[str, Any] = {}
    demonstrator: str | None = None
    provenance: Literal["robot", "twin"] = "twin"
    simulated_time: bool = False


class RewardModelConfig(Config):
    """What judges and pays.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(env, config) -> RewardModel`; null keeps the reward that the robot's
            factory made.
        config: Parameters of the reward model, read strictly by the factory.
        learner: Dotted path of a function `(config, spec, state_names, demonstrations, device, seed) -> RewardLearner`:
            a reward that the learner pays, and that learns beside the policy; null where what was stored counts.
        learner_config: Parameters of that, read strictly by the function.
    """

    name: str = "task"
    factory: str | None = None
    config: dict[str, Any] = {}
    learner: str | None = None
    learner_config: dict[str, Any] = {}


class ResetPolicyConfig(Config):
    """What brings robot and scene back to a start state.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(env, config, operator) -> ResetPolicy`; null keeps the reset that the
            robot's factory made.
        config: Parameters of the reset, read strictly by the factory.
        trouble: What ends an episode because something has gone wrong; null, with a reset that could do nothing about
            it, ends none.
    """

    name: str = "robot"
    factory: str | None = None
    config: dict[str, Any] = {}
    trouble: TroubleConfig | None = None


class PracticeTaskConfig(Config):
    """One task of those that a run practises in turn.

    Attributes:
        next: Tasks that may follow, the preferred one first. One whose success is seen already is passed over.
        requires: Tasks whose success must be seen before this one can begin.
        reward: What judges and pays it, if not the factory of the practice.
    """

    next: tuple[str, ...]
    requires: tuple[str, ...] = ()
    reward: RewardModelConfig = RewardModelConfig()


class PracticeConfig(Config):
    """Several tasks in turn instead of resets, each with an agent of its own: see docs/practice.md.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(env, names) -> dict[str, RewardModel]` that knows what is not given a
            reward of its own; null where all are.
        tasks: By name; none for a run of one task that is reset.
        looks: How many observations are judged before a task is chosen: for a classifier that wants success in K of N
            frames, N. The arm rests meanwhile.
        rearrange_after: After so many failed episodes in a row the arm picks the objects up and puts them down
            elsewhere, as `reset=scripted` does; 0 never. Nothing happens where no object can be observed, or with
            `reset=none`.
    """

    name: str = "none"
    factory: str | None = None
    tasks: dict[str, PracticeTaskConfig] = {}
    looks: int = 1
    rearrange_after: int = 3

    def __post_init__(self) -> None:
        """Refuse names that are no folders, and blindness."""
        bad = [name for name in self.tasks if not re.fullmatch(r"\w{1,50}", name)]
        if bad or self.looks < 1 or self.rearrange_after < 0:
            raise ValueError(
                f"practice.tasks {bad or list(self.tasks)} must be named by letters, digits and _, practice.looks "
                f"{self.looks} must be at least 1, and rearrange_after {self.rearrange_after} must not be negative"
            )

    @property
    def agents(self) -> tuple[str, ...]:
        """Names of the agents of a run, one for each task; one without a name where there are no several tasks."""
        return tuple(self.tasks) or ("",)


class DeployGateConfig(Config):
    """Whether a new policy is tried on a twin before it acts: see docs/protection.md.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(task, config, render) -> RobotEnv` that makes the twin; null tries nothing.
        config: Parameters of the twin, read strictly by the factory.
        episodes: Of each trial.
        margin: By how much a policy's success may be below that of the one in use.
        floor: Success below which no policy acts.
    """

    name: str = "none"
    factory: str | None = None
    config: dict[str, Any] = {}
    episodes: int = 10
    margin: float = 0.1
    floor: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.episodes < 1 or not 0 <= self.margin <= 1 or not 0 <= self.floor <= 1:
            raise ValueError(
                f"deploy_gate.episodes {self.episodes} must be at least 1, and margin {self.margin} and floor "
                f"{self.floor} must lie between 0 and 1"
            )


class CurriculumConfig(Config):
    """Where episodes of training start on the twin: see docs/curricula.md. Evaluations start as the task does.

    Attributes:
        name: For people and reports.
        factory: Dotted path of a function `(scene, config) -> sim.curriculum.Curriculum`; null starts as the task does.
        config: Parameters of the curriculum, read strictly by the factory.
    """

    name: str = "none"
    factory: str | None = None
    config: dict[str, Any] = {}


class DeviceConfig(Config):
    """What a person's hand is on: see docs/teleoperation.md.

    Attributes:
        name: For people and recordings.
        factory: Dotted path of a function `(env, config) -> Teleoperator`; null where nobody drives.
        config: Parameters of the device, read strictly by the factory.
        person: Whether somebody holds it: then simulated time must run as fast as real time.
    """

    name: str = "none"
    factory: str | None = None
    config: dict[str, Any] = {}
    person: bool = True


class SinkConfig(Config):
    """Where the figures of a run go beside its journal: see docs/observing.md.

    Attributes:
        factory: Dotted path of a function `(config, run_folder, process) -> Sink`.
        config: Parameters of the sink, read strictly by the factory.
        processes: Which processes feed it.
    """

    factory: str
    config: dict[str, Any] = {}
    processes: tuple[Literal["learner", "actor"], ...] = ("learner",)


class DemonstrationConfig(Config):
    """Where demonstrations come from.

    Attributes:
        folder: MCAP episodes made by `journeyman collect`, or a data set of others (docs/offline.md); null lets `train`
            record the scripted expert.
        episodes: How many are used, or recorded where there is no folder; 0 learns without.
        noise: Standard deviation of the noise on the scripted expert's actions, in action units.
    """

    folder: str | None = None
    episodes: int = 20
    noise: float = 0.2

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.episodes < 0 or not 0 <= self.noise <= 10:
            raise ValueError(
                f"demonstrations.episodes {self.episodes} must not be negative and noise {self.noise} must lie "
                "between 0 and 10"
            )


class RecordingConfig(Config):
    """What an actor keeps of its episodes.

    Attributes:
        episodes: Whether every episode becomes an MCAP file, for `journeyman episodes` and `journeyman label`.
        folder: Where to; null takes `episodes/` of the run, or runs/episodes where the run is on another machine.
    """

    episodes: bool = True
    folder: str | None = None


class TransportConfig(Config):
    """How learner and actors reach each other.

    Attributes:
        address: ZeroMQ address of the learner; `auto` is a socket of this machine for `train`, and
            tcp://127.0.0.1:5488 for `learner` and `actor`.
        keys: Folder with CURVE keys, made by `journeyman keys`; needed for every address that is not loopback.
        limits: What the learner takes from its actors at most.
        spool_gb: How much an actor may keep on disk for a learner that does not take it; then it parks the robot.
        spare_disk_gb: How much it leaves free on that disk; below that it parks the robot, too.
        sync: Whether items are forced to disk before they are sent, and before they are acknowledged, so that a loss of
            power takes none that was: see docs/faults.md.
    """

    address: str = "auto"
    keys: str | None = None
    limits: Limits = Limits()
    spool_gb: float = 8.0
    spare_disk_gb: float = 0.2
    sync: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.05 <= self.spool_gb <= 1e6 or not 0 <= self.spare_disk_gb <= 1e6:
            raise ValueError(
                f"transport.spool_gb {self.spool_gb} must be at least 0.05 and spare_disk_gb {self.spare_disk_gb} must "
                "not be negative; both at most a million"
            )


class FinalEvaluationConfig(Config):
    """The evaluation that the report is about.

    Attributes:
        episodes: Deterministic episodes.
        video_episodes: How many of them are filmed; 0 needs no graphics library.
        baseline: Whether a clone of the demonstrations is evaluated, too, for comparison. Null does so where that costs
            neither a robot's time nor much of a computer's: simulated, without cameras.
        checkpoint: Whose policy: of the `newest`, or of the one that is nearest to the `best` evaluation of the run.
    """

    episodes: int = 50
    video_episodes: int = 3
    baseline: bool | None = None
    checkpoint: Which = "newest"

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.episodes < 1 or self.video_episodes < 0:
            raise ValueError(
                f"evaluation.episodes {self.episodes} must be at least 1, and video_episodes {self.video_episodes} "
                "must not be negative"
            )


class RunConfig(Config):
    """Everything a run depends on.

    Attributes:
        seed: Of all random numbers: networks, exploration, start states.
        init: Folder of a run whose policy, and critics if it has any, this one begins with. The offline phase counts as
            done, and its demonstrations are this run's unless `demonstrations.folder` names others.
        init_checkpoint: Which of that run's checkpoints: `newest` or `best`.
    """

    task: Task
    algorithm: AlgorithmConfig
    robot: RobotConfig
    reward: RewardModelConfig = RewardModelConfig()
    reset: ResetPolicyConfig = ResetPolicyConfig()
    practice: PracticeConfig = PracticeConfig()
    curriculum: CurriculumConfig = CurriculumConfig()
    device: DeviceConfig = DeviceConfig()
    deploy_gate: DeployGateConfig = DeployGateConfig()
    sink: dict[str, SinkConfig] = {}
    seed: int = 0
    init: str | None = None
    init_checkpoint: Which = "newest"
    learner: LearnerConfig = LearnerConfig()
    actor: ActorConfig = ActorConfig()
    demonstrations: DemonstrationConfig = DemonstrationConfig()
    recording: RecordingConfig = RecordingConfig()
    transport: TransportConfig = TransportConfig()
    evaluation: FinalEvaluationConfig = FinalEvaluationConfig()

    def __post_init__(self) -> None:
        """Refuse seeds that not every generator takes."""
        if not 0 <= self.seed < 2**31:
            raise ValueError(f"seed {self.seed} must lie between 0 and 2147483647")


def compose(overrides: Sequence[str]) -> RunConfig:
    """Build a configuration from Hydra overrides such as `task=reach`, `seed=1`, `learner.device=cuda`.

    Raises:
        InputError: An unknown key, choice or value.
    """
    GlobalHydra.instance().clear()
    with hydra.initialize_config_module("journeyman.conf", version_base="1.3"):
        try:
            chosen = [*overrides, *_implied(overrides)]
            composed = hydra.compose("config", [_normalised(override) for override in chosen])
            plain = OmegaConf.to_container(composed, resolve=True)
        except MissingConfigException as error:
            raise InputError(_no_such_choice(error)) from None
        except (HydraException, OmegaConfBaseException) as error:
            raise InputError(_one_line(error)) from None
    return _freeze(plain)


def read_config(path: Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read the configuration that `write_config` left beside a run, with values changed by `overrides`.

    Raises:
        InputError: The file is missing or belongs to another version, or an override does not fit.
    """
    for override in overrides:
        key, _, value = override.partition("=")
        if key in (*_GROUPS, *_SEVERAL) and not value.startswith("{"):
            raise InputError(
                f"{override!r} chooses anew what a run that is there has already: change single keys, as "
                f"{key}.KEY=VALUE, or begin a new run."
            )
    try:
        stored = OmegaConf.create(path.read_text())
        merged = OmegaConf.merge(stored, OmegaConf.from_dotlist(list(overrides)))
        plain = OmegaConf.to_container(merged, resolve=True)
    except FileNotFoundError:
        raise InputError(
            f"{path.parent} is not a run directory: it has no {path.name}; choose one below runs/, or leave out run=."
        ) from None
    except (OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, OmegaConfBaseException) as error:
        raise InputError(f"{path} with {list(overrides)} cannot be read: {_one_line(error)}") from None
    try:
        return _freeze(plain, f"{path} with {' '.join(overrides)}: " if overrides else f"{path}: ")
    except InputError:
        # What is wrong with the file must not look like what is wrong with them.
        _freeze(OmegaConf.to_container(stored, resolve=True), f"{path}: ")
        raise


def write_config(config: RunConfig, path: Path) -> None:
    """Write every key with its value; atomically, as a run cannot be resumed without it."""
    write_atomically(path, yaml.safe_dump(msgspec.to_builtins(config), sort_keys=False).encode())


def _implied(overrides: Sequence[str]) -> list[str]:
    """Practice goes with what the arm can reset alone, unless something else is chosen."""
    chosen = dict(override.partition("=")[::2] for override in overrides)
    return ["reset=arm"] if chosen.get("practice", "none") != "none" and "reset" not in chosen else []


def _normalised(override: str) -> str:
    """Let any key but a group's through Hydra, to the one place that knows all keys, `_freeze`."""
    if "=" not in override and not override.startswith("~"):
        raise InputError(f"{override!r} cannot be read; write it as key=value, such as task=reach.")
    try:
        key = OverridesParser.create().parse_override(override).key_or_group
    except HydraException as error:
        raise InputError(
            f"{override!r} cannot be read ({_one_line(error)}); write it as key=value."
        ) from None
    if not key:
        raise InputError(f"{override!r} has no key; write it as key=value.")
    plain = override[0] not in "+~" and key not in (*_GROUPS, *_SEVERAL) and not key.startswith("hydra.")
    return f"++{override}" if plain else override


def _no_such_choice(error: MissingConfigException) -> str:
    """A sentence that names the choices of a group."""
    group, _, choice = str(error.missing_cfg_file).rpartition("/")
    # Of a group of which several may be chosen, the error knows none.
    options = sorted(error.options or GlobalHydra.instance().config_loader().get_group_options(group))
    hint = did_you_mean(choice, options) or _BEYOND.get(group, "").format(choice)
    return f"There is no {group} {choice!r}; choose from {', '.join(options)}.{hint}"


def _freeze(plain: Any, where: str = "") -> RunConfig:
    try:
        return msgspec.convert(plain, RunConfig, strict=False)
    except msgspec.ValidationError as error:
        raise InputError(f"{where}{_explain(error, plain)}") from None


def _explain(error: msgspec.ValidationError, plain: Any) -> str:
    """Turn what msgspec says into a sentence that names the choices."""
    unknown = re.match(r"Object contains unknown field `(.+?)`(?: - at `\$\.?(.*)`)?", str(error))
    if not unknown:
        return explain(error, RunConfig, plain)
    name, path = unknown.group(1), unknown.group(2) or ""
    fields = choices(error, RunConfig)
    key = f"{path}.{name}".lstrip(".")
    hint = did_you_mean(name, fields)
    if not hint and "config" in fields:
        hint = f" Parameters of the {path.replace('.', ' ')} are keys of {path}.config, as in {path}.config.{name}=..."
    return f"There is no key {key!r}; choose from {', '.join(fields)}.{hint}"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
