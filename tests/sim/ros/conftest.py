import pytest


@pytest.fixture
def runtime():
    """A node of the test's own in this process, closed afterwards: `runtime.node`."""
    from rclpy.node import Node

    from robot_env.ros.runtime import Runtime

    runtime = Runtime(lambda **kw: Node("test", **kw))
    yield runtime
    runtime.close()
