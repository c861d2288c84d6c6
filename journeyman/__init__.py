"""Teach a real robot arm a manipulation task by reinforcement learning in less than an hour."""

import sim  # noqa: F401 - registers the gymnasium ids `journeyman/...`

__version__ = "0.1.0"
