"""The twin as a ROS 2 node."""
