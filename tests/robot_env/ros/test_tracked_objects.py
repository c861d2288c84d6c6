"""Objects that somebody tracks: what a task observes of them, or an error that names the topic."""

import time
from types import SimpleNamespace

import numpy as np
import pytest

from controllers.config import InputError
from robot_env.robot import RobotUnavailableError

pytestmark = pytest.mark.ros


class Tracker:
    """Publishes poses of objects in the base frame."""

    def __init__(self, node):
        self._node = node
        self._publishers = {}

    def say(self, topic, position_m, frame="base", age_s=0.0):
        from geometry_msgs.msg import PoseStamped

        from robot_env.ros.messages import pose_stamped

        if topic not in self._publishers:
            self._publishers[topic] = self._node.create_publisher(PoseStamped, topic, 1)
        stamp_ns = time.time_ns() - round(age_s * 1e9)
        quaternion = np.array((0.0, 0.0, np.sin(0.1), np.cos(0.1)))
        self._publishers[topic].publish(pose_stamped(stamp_ns, frame, np.array(position_m), quaternion))


@pytest.fixture
def tracker(runtime):
    return Tracker(runtime.node)


@pytest.fixture
def make(runtime, make_task):
    from robot_env.ros.ros_clock import WallRosClock
    from robot_env.ros.tracked_objects import TrackedObjects

    def make_objects(*observed, topic="objects/{name}/pose", max_age_s=5.0):
        task = make_task(observation=[{"name": name} for name in observed])
        robot = SimpleNamespace(
            description=SimpleNamespace(base_frame="base"),
            last_state=SimpleNamespace(ee_position_m=np.array((0.4, 0.0, 0.2))),
        )
        objects = TrackedObjects(robot, task, topic, max_age_s)
        objects.attach(runtime.node, WallRosClock())
        return objects

    return make_objects


def test_a_task_says_which_objects_are_tracked(make):
    objects = make("joint_position", "ee_position", "ee_quaternion", "cube_from_ee", "peg_yaw", "cube_yaw")
    assert {name.rpartition("_")[0] for name in objects.observables} >= {"cube", "peg"}
    assert objects.observables["cube_position"] == 3
    assert not any(name.startswith(("joint", "ee")) for name in objects.observables)


def test_the_poses_of_all_objects_are_observed_from_the_tool(make, tracker, wait_until):
    objects = make("cube_position", "peg_from_ee")
    assert objects.measured_s == -np.inf

    def sees():
        tracker.say("objects/cube/pose", (0.5, 0.1, 0.02))
        tracker.say("objects/peg/pose", (0.4, 0.2, 0.05))
        return objects.measured_s > -np.inf

    wait_until(sees)
    seen = objects.observe()
    assert {name: len(value) for name, value in seen.items()} == dict(objects.observables)
    assert seen["cube_position"] == pytest.approx([0.5, 0.1, 0.02])
    assert seen["cube_from_ee"] == pytest.approx([0.1, 0.1, -0.18])
    assert seen["peg_from_ee"] == pytest.approx([0.0, 0.2, -0.15])
    assert seen["cube_yaw"] == pytest.approx([np.cos(0.8), np.sin(0.8)])


def test_news_are_as_old_as_the_oldest_of_the_objects(make, tracker, wait_until):
    objects = make("cube_position", "peg_position")

    def sees():
        tracker.say("objects/cube/pose", (0, 0, 0), age_s=2.0)
        tracker.say("objects/peg/pose", (0, 0, 0))
        return objects.measured_s > -np.inf

    wait_until(sees)
    assert 1.9 < time.monotonic() - objects.measured_s < 20.0


def test_a_task_without_objects_has_no_news_to_wait_for(make):
    objects = make("ee_position")
    assert objects.measured_s == np.inf
    assert objects.observe() == {}


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ({"frame": "camera"}, "is in frame 'camera', but 'base' is expected"),
        ({"age_s": 9.0}, "is stale"),
        ({"age_s": -9.0}, "in the future"),
        ({"position_m": (0.0, np.nan, 0.0)}, "not finite"),
        (None, "has no publisher: start what tracks 'cube'"),
    ],
)
def test_a_pose_that_cannot_be_believed_names_its_topic(make, tracker, wait_until, said, complaint):
    objects = make("cube_position")

    def complains():
        if said is not None:
            tracker.say("objects/cube/pose", **({"position_m": (0, 0, 0)} | said))
        try:
            objects.observe()
        except RobotUnavailableError as error:
            return str(error) if complaint in str(error) else ""

    assert "/objects/cube/pose" in wait_until(complains)


def test_a_topic_without_the_name_of_the_object_is_refused(make):
    with pytest.raises(InputError, match=r"objects_topic 'poses' must hold {name}"):
        make("cube_position", topic="poses")
