"""The robot side of a run logs into the run's folder, too."""

import json

import pytest

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def entries(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_twin_and_controller_log_what_they_print_and_what_they_say_to_ros(run_process, wait_until, tmp_path):
    command = ("-m", "journeyman", "twin", "--no-cameras", "task=reach", f"run={tmp_path}")
    with run_process(*command, ready="is active"):
        found = wait_until(lambda: entries(tmp_path / "logs/controller.jsonl"))
        assert {e["process"] for e in found} == {"controller"}
        wait_until(
            lambda: any(e["logger"] == "ros.controller" for e in entries(tmp_path / "logs/controller.jsonl"))
        )
    (twin,) = [e for e in entries(tmp_path / "logs/twin.jsonl") if e["logger"] == "stdout"]
    assert twin["message"] == "twin of reach is running"
