"""The person beside the arm in bench/faults.py: waits a while, then says recover or enable. A process of its own."""

import sys
import time

from robot_env.message_reading import values_of
from robot_env.program import StopFlag, run_program, when_signalled

_PATIENCE_S = {"fault": 1.5, "disabled": 4.0}  # A reset disables the controller for a moment.


def _watch() -> None:
    from diagnostic_msgs.msg import DiagnosticStatus
    from rclpy.node import Node
    from std_srvs.srv import SetBool, Trigger

    from robot_env.ros.runtime import Inbox, Runtime
    from robot_env.ros.services import Service

    stop = StopFlag()
    when_signalled(stop.set)
    runtime = Runtime(lambda **keywords: Node("human", **keywords))
    status = Inbox(runtime.node, DiagnosticStatus, "controller/status", latched=True)
    acts = {
        "fault": (Service(runtime.node, Trigger, "controller/recover"), None),
        "disabled": (Service(runtime.node, SetBool, "controller/enable"), SetBool.Request(data=True)),
    }
    state, since_s = "", time.monotonic()
    try:
        while not stop.wait(0.1):
            for received in status.take():
                heard = values_of(received.message).get("state", "")
                if heard != state:
                    state, since_s = heard, time.monotonic()
            if state in acts and time.monotonic() - since_s > _PATIENCE_S[state]:
                service, request = acts[state]
                print(f"{state}: {service.call(request) or 'done'}", flush=True)
                since_s = time.monotonic()
    finally:
        runtime.close()


if __name__ == "__main__":
    sys.exit(run_program("fault_human", _watch))
