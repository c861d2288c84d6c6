"""What a node says reaches ROS and whoever keeps a log, once each."""

import logging

import pytest

from robot_env.ros.node_log import NodeLog


class Node:
    """A node made of memory."""

    def __init__(self):
        self.said = []

    def get_name(self):
        return "controller"

    def get_logger(self):
        return self

    def __getattr__(self, level):
        return lambda text: self.said.append((level, text))


@pytest.mark.parametrize("level", ["info", "warning", "error", "fatal"])
def test_both_are_told(caplog, level):
    caplog.set_level(logging.INFO)
    node = Node()
    getattr(NodeLog(node), level)("100 % sure")
    assert node.said == [(level, "100 % sure")]
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("ros.controller", "100 % sure")
    assert record.levelno == getattr(logging, level.upper())


def test_what_would_be_said_too_often_is_due_once_in_a_while():
    log = NodeLog(Node())
    assert log.is_due("a", 3600.0)
    assert log.is_due("b", 3600.0)
    assert not log.is_due("a", 3600.0)
    assert log.is_due("a", 0.0)
