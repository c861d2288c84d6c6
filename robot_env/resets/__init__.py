"""What brings a robot and its scene back to a start state, and sees whether it did. See docs/resets.md."""

from robot_env.resets.joint import JointReset, JointResetConfig

__all__ = ["JointReset", "JointResetConfig"]
