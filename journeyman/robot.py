"""`journeyman robot`: ask or tell the controller node."""

import argparse


def run(options: argparse.Namespace) -> int:
    """See `journeyman.ros.operator`."""
    from journeyman.ros.operator import run as act  # Speaks ROS.

    return act(options)
