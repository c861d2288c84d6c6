"""The robot through ROS 2. Importing this package needs no ROS; its nodes and `Ros2Robot` do."""
