"""Which part of an observation a learned reward judges by."""

from collections.abc import Sequence

import gymnasium
import numpy as np

from agent.transition import TransitionSpec
from controllers.config import InputError

STATE = "state"


def state_entries(parts: Sequence[str] | None, state_names: Sequence[str], key: str) -> list[int]:
    """Places in the `state` vector of the parts that are judged.

    Args:
        parts: Their names, such as `goal_from_ee`; None means all.
        state_names: Names of the entries, as `RobotEnv.state_names`.
        key: Of the configuration, for the message.

    Raises:
        InputError: There is no such part.
    """
    known = list(dict.fromkeys(name.split(".")[0] for name in state_names))
    unknown = [part for part in parts or () if part not in known]
    if unknown:
        raise InputError(f"{key} names {unknown}, but the state of this task has {', '.join(known)}.")
    return [i for i, name in enumerate(state_names) if parts is None or name.split(".")[0] in parts]


def judged_spec(spec: TransitionSpec, entries: int, cameras: Sequence[str], key: str) -> TransitionSpec:
    """The layout of what is judged: images, and so many entries of the state.

    Raises:
        InputError: Nothing is left; `key` of the configuration is named.
    """
    spaces = {name: spec.observation_space[name] for name in cameras}
    if entries:
        spaces[STATE] = gymnasium.spaces.Box(-np.inf, np.inf, (entries,), np.float32)
    if not spaces:
        raise InputError(f"{key} is empty and there are no cameras: there is nothing to judge by.")
    return TransitionSpec.of(gymnasium.spaces.Dict(spaces), spec.action_space)


def judged_cameras(cameras: Sequence[str] | None, spec: TransitionSpec) -> tuple[str, ...]:
    """The cameras that `reward.config.cameras` names; None means all.

    Raises:
        InputError: The task has no such camera.
    """
    unknown = sorted(set(cameras or ()) - set(spec.image_keys))
    if unknown:
        raise InputError(
            f"reward.config.cameras names {unknown}, but the task has {list(spec.image_keys)}: choose of these, or add "
            "it to task.cameras."
        )
    return spec.image_keys if cameras is None else tuple(cameras)
