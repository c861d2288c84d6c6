"""What moves an arm: one module per kind of controller that takes commands over ROS 2."""
