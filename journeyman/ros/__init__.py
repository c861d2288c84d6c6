"""Runs as a ROS 2 system sees them. Importing this package needs no ROS; its nodes do."""
