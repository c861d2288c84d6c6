"""A recorded session as steps of a task.

Time is cut into the task's control periods. What is observed at a tick is the newest value before it. The action of a
step is what was commanded last before the step's end, seen from where the arm was at its beginning, which is what our
environment means by an action.
"""

from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from controllers.rotations import from_rotation_vector, multiply
from journeyman.episodes.formats.bag_mapping import BagMapping
from journeyman.episodes.formats.bag_streams import Bag, Stream
from journeyman.episodes.formats.foreign import Recording
from journeyman.episodes.formats.report import Report
from journeyman.episodes.formats.resampling import Piece, newest, resample, ticks
from robot_env.env import ROBOT_OBSERVABLES, action_towards
from robot_env.objects import object_of, observe_object
from robot_env.task import Task

_LEAST_TURN_RAD = 0.1
_ACTION_KINDS = {"target_pose": "pose", "twist": "twist_command"}


class Session:
    """The streams of a session, and what can be made of them."""

    def __init__(self, bag: Bag, mapping: BagMapping, task: Task, report: Report) -> None:
        self._bag, self._mapping, self._task, self._report = bag, mapping, task, report
        self._check_task()
        self._needed = self._needed_topics()
        optional = {
            topic: "flag" for topic in (mapping.episodes, mapping.success, mapping.intervened) if topic
        }
        self._streams = bag.streams({**self._needed, **optional}, mapping, report)

    def pieces(self, source: str) -> Iterator[tuple[str, Piece]]:
        """Names and ticks of the episodes."""
        stamps = {topic: self._streams[topic].stamps_ns for topic in self._needed}
        first_ns = min(int(part[0]) for part in stamps.values())
        for number, (start_ns, end_ns) in enumerate(self._spans(stamps)):
            wanted = ticks(start_ns, end_ns, self._task.control_rate_hz)
            pieces, gaps = resample(stamps, wanted, self._mapping.max_gap_s)
            for gap in gaps:
                since = [(stamp - first_ns) * 1e-9 for stamp in (gap.start_ns, gap.end_ns)]
                self._report.drop(
                    f"{source} from {since[0]:.2f} to {since[1]:.2f} s: {gap.stream} was silent for "
                    f"{gap.silent_s:.2f} s, longer than max_gap_s {self._mapping.max_gap_s:g}."
                )
            for part, piece in enumerate(pieces):
                name = f"{source}[{number}]" + (
                    f" part {part + 1} of {len(pieces)}" if len(pieces) > 1 else ""
                )
                steps = len(piece.ticks_ns) - 1
                if steps < self._mapping.min_steps:
                    self._report.drop(
                        f"{name}: it has {steps} steps, fewer than min_steps {self._mapping.min_steps}."
                    )
                else:
                    yield name, piece

    def recording(self, name: str, piece: Piece) -> Recording:
        """What an episode of ours is made from.

        Raises:
            InputError: The task observes what is not there.
        """
        measured = self._measured(piece)
        states = [
            SimpleNamespace(**{key: values[k] for key, values in measured.items()})
            for k in range(len(piece.ticks_ns))
        ]
        observed = self._observed(piece, states)
        return Recording(
            observations={**observed, **self._images(piece)},
            actions=self._actions(name, piece, states),
            intervened=self._flags(self._mapping.intervened, piece),
            success=self._success(piece),
            control_rate_hz=self._task.control_rate_hz,
            elapsed_s=(piece.ticks_ns - piece.ticks_ns[0]) * 1e-9,
            measured=measured,
            joint_names=self._names_of_joints(measured),
        )

    def _check_task(self) -> None:
        """Refuse a mapping that leaves out what the task needs.

        Raises:
            InputError: Naming it.
        """
        task, mapping = self._task, self._mapping
        missing = [name for name in task.cameras if name not in mapping.cameras]
        if missing:
            raise InputError(
                f"Task {task.name} observes camera {missing[0]}; give its topic under cameras in the mapping."
            )
        for part in task.observation:
            if part.name not in ROBOT_OBSERVABLES and object_of(part.name) not in mapping.objects:
                raise InputError(
                    f"Task {task.name} observes {part.name}; give the topic of the object's pose under objects in the "
                    "mapping."
                )
        if task.action.gripper and not mapping.action.gripper:
            raise InputError(
                f"Actions of task {task.name} move the gripper; give action.gripper in the mapping."
            )

    def _needed_topics(self) -> dict[str, str]:
        """Topic -> what it holds, of all without which there is no step."""
        mapping = self._mapping
        pairs = [
            (mapping.pose, "pose"),
            (mapping.action.topic, _ACTION_KINDS[mapping.action.kind]),
            (mapping.joint_states, "joint_states"),
            (mapping.twist, "twist"),
            (mapping.wrench, "wrench"),
            (mapping.gripper, "width"),
            *((topic, "pose") for topic in mapping.objects.values()),
            *((mapping.cameras[camera], "image") for camera in self._task.cameras),
        ]
        if self._task.action.gripper:
            pairs.append((mapping.action.gripper, "width"))
        kinds: dict[str, str] = {}
        for topic, kind in ((topic, kind) for topic, kind in pairs if topic):
            if kinds.setdefault(topic, kind) != kind:
                raise InputError(
                    f"The mapping gives {topic} as {kinds[topic]} and as {kind}; it can be one of them."
                )
        return kinds

    def _spans(self, stamps: Mapping[str, NDArray[np.int64]]) -> list[tuple[int, int]]:
        """Beginnings and ends of episodes, ns."""
        whole = max(int(part[0]) for part in stamps.values()), max(int(part[-1]) for part in stamps.values())
        if not self._mapping.episodes:
            return [whole]
        stream = self._streams[self._mapping.episodes]
        spans, start_ns = [], None
        for stamp_ns, is_on in zip(stream.stamps_ns.tolist(), stream.values, strict=True):
            if is_on and start_ns is None:
                start_ns = stamp_ns
            elif not is_on and start_ns is not None:
                spans.append((start_ns, stamp_ns))
                start_ns = None
        if start_ns is not None:
            spans.append((start_ns, whole[1]))
            self._report.note(
                f"{self._mapping.episodes}: the last episode was not ended; it ends with the recording."
            )
        return spans

    def _measured(self, piece: Piece) -> dict[str, NDArray[np.float64]]:
        """Fields of RobotState, shape (T + 1, ...)."""
        mapping = self._mapping
        found: dict[str, NDArray[np.float64]] = {}
        for topic in filter(
            None, (mapping.joint_states, mapping.pose, mapping.twist, mapping.wrench, mapping.gripper)
        ):
            values = [self._streams[topic].values[index] for index in piece.indices[topic]]
            for key in set.intersection(*(set(value) for value in values)):
                if len({np.shape(value[key]) for value in values}) > 1:
                    raise InputError(
                        f"{topic}: its messages differ in their number of joints; give joint_names."
                    )
                found[key] = np.array([value[key] for value in values], np.float64)
        return found

    def _names_of_joints(self, measured: Mapping[str, NDArray[np.float64]]) -> tuple[str, ...]:
        joints = next((values.shape[1] for key, values in measured.items() if key.startswith("joint_")), 0)
        return self._mapping.joint_names or tuple(f"joint_{i + 1}" for i in range(joints))

    def _observed(self, piece: Piece, states: list[Any]) -> dict[str, NDArray[Any]]:
        """The task's observables by name, shape (T + 1, size)."""
        objects = [self._objects(piece, k, state) for k, state in enumerate(states)]
        found = {}
        for part in self._task.observation:
            _, of_state = ROBOT_OBSERVABLES.get(part.name, (None, None))
            try:
                rows = [
                    of_state(s) if of_state else o[part.name] for s, o in zip(states, objects, strict=True)
                ]
            except AttributeError as error:
                raise InputError(
                    f"Task {self._task.name} observes {part.name}, but the mapping has no {error.name}."
                ) from None
            found[part.name] = np.array(rows, np.float64)
        return found

    def _objects(self, piece: Piece, k: int, state: Any) -> dict[str, NDArray[np.float64]]:
        """Observables of all tracked objects at one tick."""
        found: dict[str, NDArray[np.float64]] = {}
        for name, topic in self._mapping.objects.items():
            pose = self._streams[topic].values[piece.indices[topic][k]]
            found |= observe_object(
                name, pose["ee_position_m"], pose["ee_quaternion_xyzw"], state.ee_position_m
            )
        return found

    def _images(self, piece: Piece) -> dict[str, NDArray[np.uint8]]:
        """Images by camera."""
        topics = {self._mapping.cameras[name]: camera for name, camera in self._task.cameras.items()}
        numbers = {t: [self._streams[t].values[index] for index in piece.indices[t]] for t in topics}
        if not topics:
            return {}
        pictures = self._bag.images(
            topics, {topic: set(part) for topic, part in numbers.items()}, self._report
        )
        return {
            name: np.stack([pictures[topic][number] for number in numbers[topic]])
            for name in self._task.cameras
            for topic in [self._mapping.cameras[name]]
        }

    def _actions(self, name: str, piece: Piece, states: list[Any]) -> NDArray[np.float64]:
        """What was commanded last before each step's end, from where the arm was at its beginning, shape (T, A)."""
        config, action = self._mapping.action, self._task.action
        rows = []
        for k, state in enumerate(states[:-1]):
            command = self._streams[config.topic].values[piece.indices[config.topic][k + 1]]
            target = (
                SimpleNamespace(**command) if config.kind == "target_pose" else self._moved(state, command)
            )
            if action.gripper:
                width = self._streams[config.gripper].values[piece.indices[config.gripper][k + 1]]
                target.gripper_width_m = float(width["gripper_width_m"])
            rows.append(action_towards(action, target, state, config.max_gripper_width_m))
        wanted = np.array(rows, np.float64)
        beyond = int((np.abs(wanted) > 1.0 + 1e-9).any(axis=1).sum())
        if beyond:
            self._report.note(
                f"{name}: {beyond} of {len(wanted)} actions go further than task {self._task.name} allows in one step, "
                "and were cut off there."
            )
        self._note_turning(name, states)
        return np.clip(wanted, -1.0, 1.0)

    def _note_turning(self, name: str, states: list[Any]) -> None:
        """Say so if the arm turns its hand, which the task's actions cannot."""
        quaternions = np.array([state.ee_quaternion_xyzw for state in states])
        turned_rad = 2.0 * np.arccos(np.minimum(np.abs(quaternions @ quaternions[0]), 1.0)).max()
        if self._task.action.rotation_rad == 0.0 and turned_rad > _LEAST_TURN_RAD:
            self._report.note(
                f"{name}: the hand turns by up to {turned_rad:.2f} rad, but actions of task {self._task.name} "
                "cannot."
            )

    def _moved(self, state: Any, twist: Mapping[str, NDArray[np.float64]]) -> SimpleNamespace:
        """Where a twist leads in one control period."""
        period_s = 1.0 / self._task.control_rate_hz
        turn = from_rotation_vector(twist["ee_angular_velocity_rad_s"] * period_s)
        return SimpleNamespace(
            ee_position_m=state.ee_position_m + twist["ee_linear_velocity_m_s"] * period_s,
            ee_quaternion_xyzw=multiply(turn, state.ee_quaternion_xyzw),
        )

    def _flags(self, topic: str, piece: Piece) -> NDArray[np.bool_] | None:
        """What a topic of Bool said last before the end of each step; false until it speaks."""
        if not topic:
            return None
        stream: Stream = self._streams[topic]
        index = newest(stream.stamps_ns, piece.ticks_ns[1:])
        return (index >= 0) & np.array(stream.values, bool)[index]

    def _success(self, piece: Piece) -> bool | None:
        flags = self._flags(self._mapping.success, piece)
        return None if flags is None else bool(flags[-1])
