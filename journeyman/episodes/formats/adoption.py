"""Episodes out of recordings of others: what is missing is asked for, assumed aloud or left out, never made up."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats.foreign import ForeignOptions, Recording
from journeyman.episodes.formats.report import Report
from robot_env.episode import MEASUREMENTS, SCHEMA_VERSION, EpisodeMetadata
from robot_env.episode_checks import check_episode
from robot_env.episode_writer import software_versions
from robot_env.episodes import Episode
from robot_env.task import RewardConfig, Task


def is_image(values: NDArray[Any]) -> bool:
    """Whether these are colour images, (N, H, W, 3) of bytes."""
    return values.dtype == np.uint8 and values.ndim == 4 and values.shape[3] == 3


def episode_of(
    name: str, recording: Recording, options: ForeignOptions, task: Task | None, report: Report
) -> Episode:
    """An episode of ours.

    Args:
        name: For messages.
        recording: What is known.
        options: What is said besides.
        task: What it must fit, if anything.
        report: Gets a note for each thing that is assumed.

    Raises:
        InputError: Something is missing, does not fit, or makes no sense.
    """
    rate_hz = _rate_hz(name, recording, options, task)
    success = _success(name, recording, options, report)
    recording = _completed(recording, options, rate_hz, report)
    steps = len(recording.actions)
    if steps < 1:
        raise InputError(f"{name}: it holds no step whose outcome is known.")
    state, state_names = _state(name, recording, options, task)
    terminated, truncated = _end(recording, success, report)
    intervened = np.zeros(steps, bool) if recording.intervened is None else recording.intervened.astype(bool)
    metadata = EpisodeMetadata(
        schema_version=SCHEMA_VERSION,
        task=msgspec.to_builtins(task)
        if task
        else {"name": recording.task or "unknown", "control_rate_hz": rate_hz},
        robot=recording.robot or options.robot,
        joint_names=recording.joint_names,
        state_names=state_names,
        action_size=recording.actions.shape[1] if recording.actions.ndim == 2 else 0,
        operator=options.operator,
        seed=recording.seed,
        recorded_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        software=software_versions(),
        measured=tuple(field_ for field_ in MEASUREMENTS if field_ in recording.measured),
    )
    if task and metadata.action_size != task.action.size:
        raise InputError(
            f"{name}: its actions have {metadata.action_size} entries, but those of task {task.name} have "
            f"{task.action.size}; choose another task."
        )
    episode = Episode(
        metadata=metadata,
        observations={"state": state, **_images(name, recording, options, task)},
        actions=_actions(name, recording, options, report),
        rewards=_rewards(recording, success, task, report),
        terminated=terminated,
        truncated=truncated,
        intervened=intervened,
        provenance=np.where(intervened, "human", options.provenance),
        robot={key: np.asarray(recording.measured[key], np.float64) for key in metadata.measured},
        elapsed_s=np.arange(steps + 1) / rate_hz if recording.elapsed_s is None else recording.elapsed_s,
        success=success,
    )
    check_episode(name, episode)
    return episode


def _rate_hz(name: str, recording: Recording, options: ForeignOptions, task: Task | None) -> float:
    known = [
        r for r in (recording.control_rate_hz, options.control_rate_hz, task and task.control_rate_hz) if r
    ]
    if not known:
        raise InputError(
            f"{name}: nothing says how many steps a second are; give control_rate_hz=NUMBER or task=NAME."
        )
    if max(known) - min(known) > 1e-3 * max(known):
        raise InputError(
            f"{name}: its control rate is given as {' and as '.join(f'{r:g}' for r in known)} Hz; choose one."
        )
    return known[0]


def _completed(recording: Recording, options: ForeignOptions, rate_hz: float, report: Report) -> Recording:
    """The recording with one observation more than actions."""
    steps = len(recording.actions)
    if any(len(values) != steps for values in recording.observations.values()) or not steps:
        return recording
    if options.last_observation == "repeat":
        report.note(
            "Nobody recorded what the last action of an episode led to: the observation before is repeated."
        )
        grown = {key: _repeated(values) for key, values in recording.observations.items()}
        measured = {key: _repeated(values) for key, values in recording.measured.items()}
        elapsed_s = recording.elapsed_s
        if elapsed_s is not None:
            elapsed_s = np.append(elapsed_s, elapsed_s[-1] + 1.0 / rate_hz)
        return replace(recording, observations=grown, measured=measured, elapsed_s=elapsed_s)
    report.note(
        "Nobody recorded what the last action of an episode led to: that action is dropped, and the episode counts as "
        "truncated there; last_observation=repeat keeps it."
    )
    cut = {key: getattr(recording, key) for key in ("rewards", "terminated", "truncated", "intervened")}
    shorter = {key: None if values is None else values[:-1] for key, values in cut.items()}
    ends = np.arange(steps - 1) == steps - 2
    return replace(
        recording,
        actions=recording.actions[:-1],
        **{**shorter, "terminated": np.zeros(steps - 1, bool), "truncated": ends},
    )


def _repeated(values: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([values, values[-1:]])


def _state(
    name: str, recording: Recording, options: ForeignOptions, task: Task | None
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """The `state` vector, shape (T + 1, S), and the names of its entries."""
    seen = recording.observations
    numbers = {key: values for key, values in seen.items() if not is_image(values)}
    chosen = options.state or {key: key for key in numbers}
    missing = sorted(chosen.keys() - numbers.keys())
    if missing:
        raise InputError(
            f"{name}: it observes no {missing[0]!r}; choose state= from {', '.join(sorted(numbers))}."
        )
    scales = {part.name: part.scale for part in task.observation} if task else {}
    if task and list(chosen.values()) != list(scales):
        raise InputError(
            f"{name}: its state would be {', '.join(chosen.values())}, but task {task.name} observes "
            f"{', '.join(scales)}, in that order; say which is which with state={{theirs: ours, ...}}."
        )
    columns: list[NDArray[Any]] = []
    names: list[str] = []
    for theirs, ours in chosen.items():
        values = numbers[theirs].reshape(len(numbers[theirs]), -1)
        columns.append(
            np.asarray(values / scales.get(ours, 1.0), np.float32) if scales else values.astype(np.float32)
        )
        known = recording.names.get(theirs, ()) if theirs == ours else ()
        size = values.shape[1]
        names += (
            known if len(known) == size else [ours] if size == 1 else [f"{ours}.{i}" for i in range(size)]
        )
    rows = len(recording.actions) + 1
    return (np.concatenate(columns, axis=1) if columns else np.zeros((rows, 0), np.float32)), tuple(names)


def _images(
    name: str, recording: Recording, options: ForeignOptions, task: Task | None
) -> dict[str, NDArray[np.uint8]]:
    """The images by camera."""
    images = {key: values for key, values in recording.observations.items() if is_image(values)}
    chosen = options.cameras or {key: key for key in images}
    missing = sorted(chosen.keys() - images.keys())
    if missing:
        raise InputError(
            f"{name}: it has no images {missing[0]!r}; choose cameras= from {', '.join(sorted(images)) or 'nothing'}."
        )
    cameras = {ours: images[theirs] for theirs, ours in chosen.items()}
    for camera, config in (task.cameras if task else {}).items():
        found = cameras[camera].shape[1:3] if camera in cameras else None
        if found != (config.height, config.width):
            have = f"images of {found[0]} x {found[1]}" if found else "no images"
            raise InputError(
                f"{name}: it has {have} of camera {camera}, but the task observes {config.height} x {config.width}; "
                "say which is which with cameras={theirs: ours, ...}, or choose another task."
            )
    return cameras


def _actions(name: str, recording: Recording, options: ForeignOptions, report: Report) -> NDArray[np.float32]:
    """The actions with their bounds at -1 and 1."""
    actions = recording.actions
    if actions.ndim != 2 or not np.issubdtype(actions.dtype, np.number):
        found = f"{actions.dtype} of shape {list(actions.shape)}"
        raise InputError(f"{name}: its actions are {found}, but must be numbers of shape [T, A].")
    low, high = _bounds(name, recording, options)
    scaled: NDArray[Any] = np.asarray(actions)
    if (low != -1.0).any() or (high != 1.0).any():
        report.note(f"Actions are scaled from [{low.min():g}, {high.max():g}] to [-1, 1], entry by entry.")
        scaled = 2.0 * (actions - low) / (high - low) - 1.0
        # Rounding must not push what lies on a bound beyond it.
        scaled = np.where(np.abs(np.abs(scaled) - 1.0) < 1e-6, np.sign(scaled), scaled)
    outside = ~(np.abs(scaled) <= 1.0)
    if outside.any():
        step, entry = np.argwhere(outside)[0]
        raise InputError(
            f"{name}: entry {entry} of action {step} is {actions[step, entry]:g}, outside the bounds of the actions; "
            "give those with action_low=[...] action_high=[...]."
        )
    return scaled.astype(np.float32)


def _bounds(name: str, recording: Recording, options: ForeignOptions) -> tuple[NDArray[Any], NDArray[Any]]:
    """What is -1 and what is +1, shapes (A,)."""
    given: tuple[Any, Any] = recording.action_bounds or (-1.0, 1.0)
    if options.action_low is not None and options.action_high is not None:
        given = options.action_low, options.action_high
    size = recording.actions.shape[1]
    try:
        low, high = (np.broadcast_to(np.asarray(bound, np.float64), (size,)) for bound in given)
    except ValueError:
        raise InputError(
            f"{name}: action_low and action_high must have {size} entries, as its actions have, or be one number."
        ) from None
    if not (low < high).all():
        raise InputError(f"{name}: action_low {low.tolist()} must lie below action_high {high.tolist()}.")
    return low, high


def _success(name: str, recording: Recording, options: ForeignOptions, report: Report) -> bool:
    """Whether the task was done."""
    known = recording.success if options.success is None else options.success
    if known is not None:
        return known
    rewards, terminated = recording.rewards, recording.terminated
    if rewards is None and terminated is None:
        raise InputError(
            f"{name}: nothing says whether the task was done; say it with success=true or success=false."
        )
    report.note(
        "Success is taken from the last step: terminated with a positive reward, as far as these are known."
    )
    paid = rewards is None or bool(np.any(rewards[-1:] > 0))
    return paid and (terminated is None or bool(np.any(terminated[-1:])))


def _end(recording: Recording, success: bool, report: Report) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Terminated and truncated."""
    steps = len(recording.actions)
    flags = [
        np.zeros(steps, bool) if values is None else np.asarray(values).astype(bool)
        for values in (recording.terminated, recording.truncated)
    ]
    if recording.terminated is None and recording.truncated is None:
        flags[0 if success else 1][-1] = True
        report.note("What ended an episode is taken from its success: terminated with it, truncated without.")
    return flags[0], flags[1]


def _rewards(recording: Recording, success: bool, task: Task | None, report: Report) -> NDArray[np.float64]:
    """The rewards, or what a sparse task pays."""
    if recording.rewards is not None:
        return np.asarray(recording.rewards, np.float64)
    pay = task.reward if task else RewardConfig()
    rewards = np.full(len(recording.actions), pay.step, np.float64)
    if success:
        rewards[-1] = pay.success
    report.note(
        f"The recordings have no rewards: each step is paid {pay.step:g}, the last of a successful episode "
        f"{pay.success:g}."
    )
    return rewards
