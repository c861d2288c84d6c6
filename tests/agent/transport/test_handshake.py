import pytest

from agent.transport.handshake import mismatch
from agent.transport.messages import PROTOCOL_VERSION, Hello

SPEC = {"observation.state": "<f4[18]", "action": "<f4[4]"}
TASK = {"name": "lift_cube", "control_rate_hz": "20"}


def hello(**fields) -> Hello:
    usual = {
        "protocol_version": PROTOCOL_VERSION,
        "actor": "actor-0",
        "stream": bytes(16),
        "spec": SPEC,
        "task": TASK,
        "oldest_sequence": 0,
        "sent_below": 5,
    }
    return Hello(**{**usual, **fields})


def test_what_fits_is_taken():
    assert mismatch(hello(), SPEC, dict(reversed(TASK.items())), stored_below=5) is None


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"protocol_version": 99}, "protocol version 2, actor 'actor-0' speaks 99"),
        ({"spec": {**SPEC, "action": "<f4[7]"}}, "action: <f4[4] here, <f4[7] there"),
        ({"spec": {"action": "<f4[4]"}}, "observation.state: <f4[18] here, absent there"),
        ({"spec": dict(reversed(SPEC.items()))}, "order of fields"),
        ({"task": {**TASK, "control_rate_hz": "10"}}, "task control_rate_hz: 20 here, 10 there"),
        ({"sent_below": 4}, "ends at item 4, but the learner has stored 5"),
    ],
)
def test_what_differs_is_named(fields, named):
    reason = mismatch(hello(**fields), SPEC, TASK, stored_below=5)
    assert reason is not None
    assert named in reason


def test_of_two_tasks_the_name_is_said_first_and_not_every_consequence():
    def described(name):
        return {"task.name": name, **{f"task.{n}": f"{name} {n}" for n in range(30)}}

    reason = mismatch(hello(task=described("reach")), SPEC, described("lift_cube"), stored_below=5)
    assert "(here): task task.name: lift_cube here, reach there; " in reason
    assert "and 26 more; start both" in reason
