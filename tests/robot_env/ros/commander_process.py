"""Somebody who commands an arm: plain rclpy, none of our code. Leads the target to and fro at up to 0.5 m/s."""

import math
import time

import rclpy
from geometry_msgs.msg import PoseStamped


def main() -> None:
    rclpy.init()
    node = rclpy.create_node("somebody")
    publisher = node.create_publisher(PoseStamped, "controller/target_pose", 1)
    while publisher.get_subscription_count() == 0:
        time.sleep(0.01)
    start_s = time.monotonic()
    while True:
        message = PoseStamped()
        message.header.stamp = node.get_clock().now().to_msg()
        message.header.frame_id = "base"
        position = message.pose.position
        position.x, position.y, position.z = 0.5, 0.2 * math.sin(2.5 * (time.monotonic() - start_s)), 0.3
        message.pose.orientation.x, message.pose.orientation.w = 1.0, 0.0
        publisher.publish(message)
        time.sleep(0.02)


if __name__ == "__main__":
    main()
