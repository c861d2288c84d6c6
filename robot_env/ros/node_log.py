"""What a node says: to ROS's log, and so to the terminal, and to Python's `logging`, for who keeps a log of the run."""

import logging
import time
from typing import Any

ROS_LOGGERS = "ros"
"""First part of the names of the loggers of nodes."""

# Nobody who keeps a log: then Python would print warnings that ROS prints already.
logging.getLogger(ROS_LOGGERS).addHandler(logging.NullHandler())


class NodeLog:
    """The log of one node.

    Args:
        node: Whose it is.
    """

    def __init__(self, node: Any) -> None:
        self._ros = node.get_logger()
        self._python = logging.getLogger(f"{ROS_LOGGERS}.{node.get_name()}")
        self._said_s: dict[str, float] = {}

    def info(self, text: str) -> None:
        """Something that happens in the course of things."""
        self._ros.info(text)
        self._python.info("%s", text)

    def warning(self, text: str) -> None:
        """Something that somebody should look at."""
        self._ros.warning(text)
        self._python.warning("%s", text)

    def error(self, text: str) -> None:
        """Something that keeps the node from its work."""
        self._ros.error(text)
        self._python.error("%s", text)

    def fatal(self, text: str) -> None:
        """Something that ends the node."""
        self._ros.fatal(text)
        self._python.critical("%s", text)

    def is_due(self, topic: str, period_s: float) -> bool:
        """Whether nothing was due on this topic for so long: for what would be said too often."""
        now_s = time.monotonic()
        due = now_s - self._said_s.get(topic, -period_s) >= period_s
        if due:
            self._said_s[topic] = now_s
        return due
