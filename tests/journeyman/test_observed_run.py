"""A run as a person starts it, looked at with everything there is."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

pytest.importorskip("prometheus_client")
pytestmark = pytest.mark.slow

SMALL = (
    "task=reach",
    "learner.start_steps=20",
    "learner.max_environment_steps=100000",
    "actor.random_steps=20",
    "actor.evaluate_every=0",
    "demonstrations.episodes=1",
    "recording.episodes=false",
    "evaluation.episodes=1",
    "evaluation.video_episodes=0",
    "evaluation.baseline=false",
    "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[16,16]",
    "algorithm.config.batch_size=16",
    "sink=[tensorboard,prometheus]",
)


@pytest.fixture
def ports():
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
def train(tmp_path, ports):
    learner, actor = ports
    where = (f"sink.prometheus.config.port={learner}", f"sink.prometheus.config.actor_port={actor}")
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.Popen(
        [sys.executable, "-m", "journeyman", "train", *SMALL, *where],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    yield process
    process.kill()
    process.communicate()


def scrape(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return {}
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_log_event_files_and_endpoints_tell_of_the_same_run(tmp_path, ports, train, wait_until):
    learner, actor = ports

    def learned():
        assert train.poll() is None, train.communicate()[0]
        found = scrape(learner)
        return found if found.get('journeyman_updates_total{agent=""}', 0.0) > 0 else {}

    found = wait_until(learned, timeout_s=120.0)
    assert found['journeyman_environment_steps_total{agent=""}'] > 20
    assert found['journeyman_actors_connected{agent=""}'] == 1
    assert found['journeyman_malformed_messages_total{agent=""}'] == 0
    assert found['journeyman_free_disk_bytes{agent=""}'] > 0
    assert any("critic_loss" in name for name in found)

    def acting():
        found = scrape(actor)  # From a second ago at most.
        return found if found.get("journeyman_actor_items_total", 0.0) > 20 else {}

    acted = wait_until(acting, timeout_s=60.0)
    assert 'journeyman_actor_state{state="learning"}' in acted
    train.send_signal(signal.SIGINT)
    output, _ = train.communicate(timeout=240)
    assert train.returncode == 130, output

    run = (tmp_path / "runs/latest").resolve()
    assert [path.stat().st_size > 1000 for path in (run / "tensorboard").iterdir()] == [True]
    logs = {path.name: path.read_bytes().splitlines() for path in (run / "logs").glob("*.jsonl")}
    assert logs.keys() == {"train.jsonl", "learner.jsonl", "actor.actor-0.jsonl"}
    said = {name: [json.loads(line)["message"] for line in lines] for name, lines in logs.items()}
    assert any("joins at item 0" in message for message in said["learner.jsonl"])
    assert any("robot is parked" in message for message in said["actor.actor-0.jsonl"])
    for line in ("Run runs/", "Stopping. Go on later with"):  # On the terminal as ever, and in the log.
        assert line in output
        assert any(message.startswith(line) for message in said["train.jsonl"])
