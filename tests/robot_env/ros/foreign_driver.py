"""Somebody else's driver: plain rclpy, nothing of journeyman. It writes down every command that it gets.

    python foreign_driver.py crisp|ros2_control RECORD.jsonl

`crisp` publishes what crisp_controllers do and follows `target_pose`, `target_joint`; `ros2_control` publishes what a
joint_state_broadcaster does (joints in an order of its own, the gripper among them, NaN for what the hardware does not
measure) and follows a forward position controller and a joint trajectory controller. The arm is a first-order lag.
"""

import json
import math
import signal
import sys
import time

import rclpy
from geometry_msgs.msg import PoseStamped, TwistStamped, WrenchStamped
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

PERIOD_S = 0.01
LAG_S = 0.05
FRAME = "arm_base"


class Driver(Node):
    """What both have in common: time, recording, joints that follow."""

    def __init__(self, name, record, joints, start, gripper):
        super().__init__(name)
        self.record = record
        self.names = joints
        self.position = list(start)
        self.goal = list(start)
        self.velocity = [0.0] * len(start)
        self.grip = self.grip_goal = gripper
        self.create_timer(PERIOD_S, self.tick)

    def write(self, topic, message, **content):
        header = getattr(message, "header", None)
        line = {"topic": topic, "received_ns": time.time_ns(), **content}
        if header is not None:
            line["stamp_ns"] = header.stamp.sec * 10**9 + header.stamp.nanosec
            line["frame"] = header.frame_id
        self.record.write(json.dumps(line) + "\n")
        self.record.flush()

    def tick(self):
        part = PERIOD_S / LAG_S
        self.velocity = [(g - p) / LAG_S for g, p in zip(self.goal, self.position, strict=True)]
        self.position = [p + PERIOD_S * v for p, v in zip(self.position, self.velocity, strict=True)]
        self.grip += part * (self.grip_goal - self.grip)
        self.publish()

    def stamped(self, message, frame=""):
        message.header.stamp = self.get_clock().now().to_msg()
        message.header.frame_id = frame
        return message


class Crisp(Driver):
    def __init__(self, record):
        joints = [f"fr3_joint{number}" for number in range(1, 8)]
        super().__init__("crisp", record, joints, [0.0, 0.15, 0.0, -2.35, 0.0, 2.5, 0.785], 0.06)
        self.place, self.wanted = [0.5, 0.0, 0.3], [0.5, 0.0, 0.3]
        self.turn, self.wanted_turn = [1.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]
        self.speed = [0.0] * 3
        self.joint_states = self.create_publisher(JointState, "joint_states", qos_profile_sensor_data)
        self.pose = self.create_publisher(PoseStamped, "current_pose", qos_profile_sensor_data)
        self.twist = self.create_publisher(TwistStamped, "current_twist", qos_profile_sensor_data)
        self.wrench = self.create_publisher(WrenchStamped, "wrench", qos_profile_sensor_data)
        self.gripper = self.create_publisher(JointState, "gripper/joint_states", 10)
        self.create_subscription(PoseStamped, "target_pose", self.on_pose, 10)
        self.create_subscription(JointState, "target_joint", self.on_joint, 10)
        self.create_subscription(JointState, "gripper/target", self.on_gripper, 10)

    def on_pose(self, message):
        p, q = message.pose.position, message.pose.orientation
        self.wanted, self.wanted_turn = [p.x, p.y, p.z], [q.x, q.y, q.z, q.w]
        self.write("target_pose", message, position=self.wanted, quaternion=self.wanted_turn)

    def on_joint(self, message):
        self.write("target_joint", message, names=list(message.name), position=list(message.position))
        given = dict(zip(message.name, message.position, strict=True))
        self.goal = [given[name] for name in self.names]

    def on_gripper(self, message):
        self.write("gripper/target", message, names=list(message.name), position=list(message.position))
        self.grip_goal = message.position[0]

    def publish(self):
        part = PERIOD_S / LAG_S
        self.speed = [(w - p) / LAG_S for w, p in zip(self.wanted, self.place, strict=True)]
        self.place = [p + PERIOD_S * v for p, v in zip(self.place, self.speed, strict=True)]
        turn = [t + part * (w - t) for w, t in zip(self.wanted_turn, self.turn, strict=True)]
        length = math.hypot(*turn)
        self.turn = [t / length for t in turn]

        joints = JointState(name=self.names, position=self.position, velocity=self.velocity, effort=[0.0] * 7)
        self.joint_states.publish(self.stamped(joints))
        pose = self.stamped(PoseStamped(), FRAME)
        place, turn = pose.pose.position, pose.pose.orientation
        place.x, place.y, place.z = self.place
        turn.x, turn.y, turn.z, turn.w = self.turn
        self.pose.publish(pose)
        twist = self.stamped(TwistStamped(), FRAME)
        linear = twist.twist.linear
        linear.x, linear.y, linear.z = self.speed
        self.twist.publish(twist)
        self.wrench.publish(self.stamped(WrenchStamped(), FRAME))
        self.gripper.publish(self.stamped(JointState(name=["fr3_finger_width"], position=[self.grip])))


class Ros2Control(Driver):
    """Its joint_state_broadcaster sorts by its own taste."""

    ORDER = ("shoulder_lift", "elbow", "wrist_1", "knuckle", "wrist_2", "wrist_3", "shoulder_pan")

    def __init__(self, record):
        joints = ["shoulder_pan", "shoulder_lift", "elbow", "wrist_1", "wrist_2", "wrist_3"]
        start = [2.841, -1.714, 1.8, -1.656, -1.571, -1.872]
        super().__init__("controller_manager", record, joints, start, 0.2)
        self.states = self.create_publisher(JointState, "joint_states", 10)
        self.create_subscription(Float64MultiArray, "forward/commands", self.on_commands, 10)
        self.create_subscription(JointTrajectory, "trajectory/joint_trajectory", self.on_trajectory, 10)
        self.create_subscription(Float64MultiArray, "gripper/commands", self.on_gripper, 10)

    def on_commands(self, message):
        self.write("forward/commands", message, position=list(message.data))
        if len(message.data) == len(self.names):
            self.goal = list(message.data)

    def on_trajectory(self, message):
        (point,) = message.points
        time_s = point.time_from_start.sec + 1e-9 * point.time_from_start.nanosec
        names, position = list(message.joint_names), list(point.positions)
        self.write("trajectory", message, names=names, position=position, time_s=time_s)
        given = dict(zip(names, position, strict=True))
        self.goal = [given[name] for name in self.names]

    def on_gripper(self, message):
        self.write("gripper/commands", message, position=list(message.data))
        (self.grip_goal,) = message.data

    def publish(self):
        position = dict(zip(self.names, self.position, strict=True)) | {"knuckle": self.grip}
        velocity = dict(zip(self.names, self.velocity, strict=True)) | {"knuckle": math.nan}
        message = JointState(
            name=list(self.ORDER),
            position=[position[name] for name in self.ORDER],
            velocity=[velocity[name] for name in self.ORDER],
            effort=[math.nan] * len(self.ORDER),
        )
        self.states.publish(self.stamped(message))


def main(kind, path):
    ending = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ending.append(True))
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    with open(path, "w") as record:
        node = {"crisp": Crisp, "ros2_control": Ros2Control}[kind](record)
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        print("driver is up", flush=True)
        while not ending:
            executor.spin_once(timeout_sec=0.1)
    executor.shutdown()
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
