"""The resets that a run may choose by `reset=...`, put together for its robot and its task."""

from collections.abc import Iterable, Mapping
from math import inf
from typing import Any

import msgspec

from controllers.config import Config, InputError, read
from robot_env.contracts import RewardModel, Verifier
from robot_env.env import RobotEnv
from robot_env.resets.chain import Link, ResetChain
from robot_env.resets.operator import HumanHelp, Operator
from robot_env.resets.scripted import ScriptedReset
from robot_env.resets.scripted_config import ScriptedResetConfig
from robot_env.resets.verify import AllOf, ArmAtStart, CamerasAlive, GripperAt, NotDone, ObjectAtStart
from robot_env.trouble.scene import ObjectOutConfig
from robot_env.trouble.watch import ObjectsInReach


class VerificationConfig(Config):
    """What is looked at after a reset.

    Attributes:
        tolerance_m: Arm and objects may be this far outside their start regions.
        cameras: Those that must show something else once the arm has moved; all of the task's if null.
        object_out: When an observed object that is not put back is out of reach; null looks for none.
        reward: Whether the reward, and where known the truth, are asked if the task is done already.
    """

    tolerance_m: float = 0.02
    cameras: tuple[str, ...] | None = None
    object_out: ObjectOutConfig | None = ObjectOutConfig()
    reward: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 0.0 <= self.tolerance_m < inf:
            raise ValueError(f"verification.tolerance_m {self.tolerance_m} must be finite and not negative")


class ChainConfig(Config):
    """`reset.config` of `reset=scripted` and `reset=operator`.

    Attributes:
        budget_s: Longest time for one way to reset, on the robot's clock.
        scripted: Parameters of `robot_env.resets.scripted_config.ScriptedResetConfig`. `start` and `objects` come from
            the task's `scene_config` where they are not given: `start`, and for every object whose yaw the scene
            observes the box of two dimensions under its name, with `max_yaw_rad`.
        verification: What is looked at afterwards.
    """

    budget_s: float = 120.0
    scripted: dict[str, Any] = {}
    verification: VerificationConfig = VerificationConfig()

    def __post_init__(self) -> None:
        """Refuse no time at all."""
        if not 0.0 < self.budget_s < inf:
            raise ValueError(f"budget_s {self.budget_s} must be positive and finite")


def make_scripted(env: RobotEnv, config: Mapping[str, Any], operator: Operator) -> ResetChain:
    """The arm puts everything back; if that fails it retreats and tries again; if that fails, too, a person is asked.

    Raises:
        InputError: The configuration does not fit, or says less than is needed.
    """
    chosen, scripted = _read(env, config)
    return _by_arm(env, "scripted", chosen, scripted, operator)


def make_arm(env: RobotEnv, config: Mapping[str, Any], operator: Operator) -> ResetChain:
    """The arm lets go, rises and goes to a start pose; everything else stays. A person is asked when that fails twice.

    Raises:
        InputError: See `make_scripted`.
    """
    chosen, scripted = _read(env, config)
    alone = msgspec.structs.replace(scripted, objects={})
    return _by_arm(env, "arm", _whatever_is_done(chosen), alone, operator)


def make_rearranging(env: RobotEnv, config: Mapping[str, Any], operator: Operator) -> ResetChain | None:
    """As `make_scripted`, whatever is done already; None where no object can be put back.

    Raises:
        InputError: See `make_scripted`.
    """
    chosen, scripted = _read(env, config)
    if not scripted.objects:
        return None
    return _by_arm(env, "scripted", _whatever_is_done(chosen), scripted, operator)


def make_operator(env: RobotEnv, config: Mapping[str, Any], operator: Operator) -> ResetChain:
    """The arm goes to its start, and a person puts the rest back before every episode.

    Raises:
        InputError: See `make_scripted`.
    """
    chosen, scripted = _read(env, config)
    arm_alone = msgspec.structs.replace(scripted, objects={})
    links = [Link("arm", _scripted(env, arm_alone), chosen.budget_s)]
    human = HumanHelp(env.robot, operator)
    return ResetChain(env.robot, links, _verifier(env, chosen, scripted), human, ask_always=True)


def _by_arm(
    env: RobotEnv, name: str, chosen: ChainConfig, scripted: ScriptedResetConfig, operator: Operator
) -> ResetChain:
    """What the arm does, the same after a retreat, a person."""
    links = [
        Link(name, _scripted(env, scripted), chosen.budget_s),
        Link("retreat", _scripted(env, scripted, retreat_first=True), chosen.budget_s),
    ]
    return ResetChain(env.robot, links, _verifier(env, chosen, scripted), HumanHelp(env.robot, operator))


def _whatever_is_done(chosen: ChainConfig) -> ChainConfig:
    """Of several tasks one is done at most times; which can begin, the graph of tasks sees."""
    return msgspec.structs.replace(
        chosen, verification=msgspec.structs.replace(chosen.verification, reward=False)
    )


def _scripted(env: RobotEnv, config: ScriptedResetConfig, retreat_first: bool = False) -> ScriptedReset:
    return ScriptedReset(env.robot, env.scene, env.task, config, retreat_first)


def _verifier(env: RobotEnv, config: ChainConfig, scripted: ScriptedResetConfig) -> AllOf:
    """All that can be seen of whether the scene is in a start state."""
    robot, wanted = env.robot, config.verification
    verifiers: list[Verifier] = [ArmAtStart(robot, scripted.start, wanted.tolerance_m)]
    if env.task.action.gripper:
        widest_m = robot.max_gripper_width_m
        verifiers.append(GripperAt(robot, widest_m, (1.0 - scripted.open_fraction) * widest_m))
    for name, thing in scripted.objects.items():
        verifiers.append(ObjectAtStart(robot, env.scene, name, thing.region, wanted.tolerance_m))
    if wanted.object_out is not None:
        verifiers.append(ObjectsInReach(env.scene, env.task, wanted.object_out, scripted.objects))
    cameras = tuple(env.task.cameras) if wanted.cameras is None else wanted.cameras
    unknown = sorted(set(cameras) - set(env.task.cameras))
    if unknown:
        raise InputError(
            f"reset.config.verification.cameras {unknown} are not the task's: choose from {sorted(env.task.cameras)}."
        )
    if cameras:
        verifiers.append(CamerasAlive(robot, env.begin, cameras))
    if wanted.reward:
        verifiers.append(NotDone(env.begin, lambda: _judges(env)))
    return AllOf(verifiers)


def _judges(env: RobotEnv) -> Iterable[RewardModel]:
    return [judge for judge in (env.reward_model, env.truth) if judge is not None]


def _read(env: RobotEnv, config: Mapping[str, Any]) -> tuple[ChainConfig, ScriptedResetConfig]:
    chosen = read(ChainConfig, config, "reset.config does not fit")
    told = _told_by_task(env) | chosen.scripted
    if "start" not in told:
        raise InputError(
            f"Task {env.task.name!r} does not say where the arm starts: give scene_config.start, or "
            "reset.config.scripted.start."
        )
    return chosen, read(ScriptedResetConfig, told, "reset.config.scripted does not fit")


def _told_by_task(env: RobotEnv) -> dict[str, Any]:
    """What the task's `scene_config` says of where things start."""
    scene_config = env.task.scene_config
    told: dict[str, Any] = {"start": scene_config["start"]} if "start" in scene_config else {}
    objects = {}
    for name in (part.removesuffix("_yaw") for part in env.scene.observables if part.endswith("_yaw")):
        box = scene_config.get(name)
        if isinstance(box, Mapping) and len(box.get("min_m", ())) == 2:
            objects[name] = {"region": box, "max_yaw_rad": scene_config.get("max_yaw_rad", 0.0)}
    return told | {"objects": objects}
