"""`journeyman train` as a person starts it: real processes, small runs."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from agent.checkpoint import load_policy
from agent.journal import JournalReader
from agent.record_log import RecordLog
from agent.transition import Provenance
from agent.transport.curve import create_keys
from journeyman.config import read_config
from journeyman.run_directory import RunDirectory
from journeyman.wiring import make_env, make_spec
from robot_env.episodes import list_episodes, read_episode

pytestmark = pytest.mark.slow

SMALL = (
    "task=reach",
    "learner.start_steps=60",
    "learner.checkpoint_every=100",
    "actor.random_steps=60",
    "actor.evaluate_every=0",
    "demonstrations.episodes=3",
    "evaluation.episodes=2",
    "evaluation.video_episodes=0",
    "evaluation.baseline=false",
    "algorithm.config.compile=false",
    "algorithm.config.hidden_sizes=[32,32]",
    "algorithm.config.batch_size=32",
)
REPORTED = (
    "task, seed, success_rate, success_low, success_high, evaluation_episodes, environment_steps, robot_minutes, "
    "wall_s, cpu_s, updates, transitions_sent, transitions_stored"
)


def start(folder, *arguments, verb="train", path=()):
    return subprocess.Popen(
        [sys.executable, "-m", "journeyman", verb, *arguments],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # As in a terminal: a test run in the background of a script passes on that Ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *map(str, path)])},
    )


def finish(process, timeout_s=240):
    try:
        output, _ = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()  # Its processes notice and end.
        raise
    return process.returncode, output


def train(folder, *arguments):
    return finish(start(folder, *arguments))


def summary(folder):
    return json.loads((folder / "runs/latest/report/summary.json").read_text())


def steps_so_far(folder):
    entries = JournalReader(folder / "runs/latest/journal.jsonl").new()
    return max((e["environment_steps"] for e in entries if e["kind"] == "learner"), default=0)


def wait_for_steps(folder, process, steps):
    while steps_so_far(folder) < steps:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)


def child_pids(process, verb):
    """Processes below `process` that run this verb."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int(re.search(r"PPid:\s+(\d+)", (path / "status").read_text()).group(1))
            command = (path / "cmdline").read_bytes().decode().split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if parent == process.pid and verb in command:
            found.append(int(path.name))
    return found


def wait_for_child(process, verb):
    """One that was killed a moment ago may not have been started again yet."""
    while not (found := child_pids(process, verb)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    (pid,) = found
    return pid


def policy_weights(folder):
    weights, _ = load_policy(RunDirectory((folder / "runs/latest").resolve()).checkpoints().newest())
    return {name: value.numpy() for name, value in weights.items()}


def encoder_weights(folder):
    return {name: value for name, value in policy_weights(folder).items() if name.startswith("encoder.")}


def stored_rows(run):
    config = read_config(run / "config.yaml")
    env = make_env(config)
    log = RecordLog.open(run / "replay.log", make_spec(env).dtype)
    rows = np.concatenate(list(log.records()))
    log.close()
    env.close()
    return rows


def test_it_learns_from_images_and_resumes_with_the_same_counters(tmp_path):
    """The whole way of an image: twin, wire, log, replay, encoder, published weights; also over a resume."""
    images = ("task=lift_cube_pixels", "algorithm=drq", "algorithm.config.batch_size=16")
    # Every image is drawn by the CPU.
    others = (
        "task=",
        "algorithm.config.batch_size",
        "demonstrations.",
        "evaluation.episodes",
        "learner.start",
        "actor.random",
    )
    plain = [a for a in SMALL if not a.startswith(others)]
    plain += [
        "demonstrations.episodes=1",
        "evaluation.episodes=1",
        "learner.start_steps=40",
        "actor.random_steps=40",
    ]
    code, output = train(tmp_path, *plain, *images, "learner.max_environment_steps=60")
    assert code == 0, output
    result = summary(tmp_path)
    assert result["environment_steps"] == result["transitions_sent"] == result["transitions_stored"] == 60
    assert result["updates"] == 2 * (60 - 40)
    first = encoder_weights(tmp_path)
    code, output = train(tmp_path, "run=runs/latest", "learner.max_environment_steps=90")
    assert code == 0, output
    again = summary(tmp_path)
    assert again["environment_steps"] == again["transitions_stored"] == 90
    assert again["updates"] == 2 * (90 - 40)
    assert again["wall_s"] > result["wall_s"]
    assert all(not np.array_equal(value, first[name]) for name, value in encoder_weights(tmp_path).items())
    rows = stored_rows((tmp_path / "runs/latest").resolve())
    follows = (rows["episode"][1:] == rows["episode"][:-1]) & (rows["step"][1:] == rows["step"][:-1] + 1)
    for camera in ("front", "wrist"):
        assert np.array_equal(
            rows[f"next_observation.{camera}"][:-1][follows], rows[f"observation.{camera}"][1:][follows]
        )
        assert len(np.unique(rows[f"observation.{camera}"].reshape(len(rows), -1), axis=0)) > 45


def test_hg_dagger_clones_on_while_a_person_helps_and_every_episode_is_kept(tmp_path):
    """The way of an intervention: device, executed action, log, journal, report; and the recordings beside it."""
    plain = [a for a in SMALL if not a.startswith(("algorithm.config.compile", "learner.start", "actor."))]
    dagger = ("algorithm=hg_dagger", "algorithm.config.offline_updates=50", "actor.evaluate_every=60")
    person = ("device=intervener", "device.config.patience_s=0.5", "device.config.half_life_steps=100")
    code, output = train(tmp_path, *plain, *dagger, *person, "learner.max_environment_steps=200")
    assert code == 0, output
    result = summary(tmp_path)
    assert set(REPORTED.split(", ")) <= result.keys()
    assert result["environment_steps"] == result["transitions_sent"] == result["transitions_stored"] == 200
    assert (result["offline_updates"], result["updates"]) == (50, 200 - 1)
    run = (tmp_path / "runs/latest").resolve()
    assert {"learning_curve.png", "summary.json", "config.yaml", "versions.json"} <= {
        p.name for p in (run / "report").iterdir()
    }
    rows = stored_rows(run)
    assert len(rows) == 200
    assert len(set(rows["policy_version"])) > 1
    helped = rows["intervened"]
    assert 0 < helped.sum() < len(rows)
    assert set(rows["provenance"][helped]) == {Provenance.HUMAN}
    assert set(rows["provenance"][~helped]) == {Provenance.TWIN}
    assert "Interventions: " in output
    episodes = [read_episode(path) for path in list_episodes(run / "episodes")]
    # An episode that the end of the run broke off is in both, but not in the journal.
    assert result["interventions"]["steps"] <= helped.sum() == sum(e.intervened.sum() for e in episodes)
    np.testing.assert_array_equal(np.concatenate([e.actions for e in episodes]), rows["action"])
    np.testing.assert_array_equal(np.concatenate([e.intervened for e in episodes]), helped)
    assert {e.metadata.judge for e in episodes} == {"task"}


def imitated(folder):
    entries = JournalReader(folder / "runs/latest/journal.jsonl").new()
    return max((e["offline"][0] for e in entries if e["kind"] == "learner"), default=0)


def test_behaviour_cloning_ends_with_a_report_and_with_the_same_policy_after_kill_9(tmp_path):
    """Killed between two checkpoints: what was not saved is done again, with the same batches."""
    plain = [a for a in SMALL if not a.startswith(("algorithm.config.compile", "learner.", "actor."))]
    plain += ["algorithm=bc", "algorithm.config.offline_updates=2000", "learner.checkpoint_every=300"]
    policies = []
    for folder in (tmp_path / "whole", tmp_path / "killed"):
        folder.mkdir()
        process = start(folder, *plain)
        if folder.name == "killed":
            while imitated(folder) < 350:
                assert process.poll() is None, process.communicate()[0]
                time.sleep(0.01)
            (pid,) = child_pids(process, "learner")
            os.kill(pid, signal.SIGKILL)
            assert imitated(folder) < 2000
        code, output = finish(process)
        assert code == 0, output
        assert output.count("SIGKILL") == (folder.name == "killed")
        result = summary(folder)
        assert result["algorithm"] == "bc"
        assert result["offline_updates"] == 2000
        assert result["environment_steps"] == result["transitions_stored"] == result["episodes"] == 0
        assert (folder / "runs/latest/report/learning_curve.png").stat().st_size > 0
        assert not (folder / "runs/latest/logs/actor.log").exists()  # No step of the robot.
        policies.append(policy_weights(folder))
    code, output = train(tmp_path / "killed", "run=runs/latest")  # It is complete.
    assert code == 0, output
    assert summary(tmp_path / "killed")["offline_updates"] == 2000
    one, other = policies
    assert all(np.array_equal(one[name], other[name]) for name in one)


def test_kill_9_loses_and_doubles_nothing(tmp_path):
    process = start(tmp_path, *SMALL, "algorithm.config.utd_ratio=2", "learner.max_environment_steps=500")
    for threshold, victim in ((100, "learner"), (150, "actor"), (250, "learner"), (300, "actor")):
        wait_for_steps(tmp_path, process, threshold)
        os.kill(wait_for_child(process, victim), signal.SIGKILL)
    code, output = finish(process)
    assert code == 0, output
    assert output.count("SIGKILL") == 4
    result = summary(tmp_path)
    assert result["environment_steps"] == result["transitions_sent"] == result["transitions_stored"] == 500
    assert result["updates"] == 2 * (500 - 60)
    rows = stored_rows((tmp_path / "runs/latest").resolve())
    assert len(rows) == 500
    places = {(int(e), int(s)) for e, s in zip(rows["episode"], rows["step"], strict=True)}
    assert len(places) == 500  # None is there twice ...
    for episode in np.unique(rows["episode"]):  # ... and none is missing.
        steps = rows["step"][rows["episode"] == episode]
        assert np.array_equal(steps, np.arange(len(steps)))


def scrape(port):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            lines = answer.read().decode().splitlines()
    except (urllib.error.URLError, OSError):
        return {}
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {name: float(value) for name, _, value in pairs}


def test_ctrl_c_stops_a_run_that_is_observed_and_it_goes_on_later_also_without_demonstrations(
    tmp_path, wait_until
):
    """Log, event files and endpoints tell of the same run."""
    pytest.importorskip("prometheus_client")
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        of_learner, of_actor = one.getsockname()[1], other.getsockname()[1]
    ports = f"sink.prometheus.config.port={of_learner}", f"sink.prometheus.config.actor_port={of_actor}"
    observed = ("sink=[tensorboard,prometheus]", *ports, "learner.max_environment_steps=100000")
    process = start(tmp_path, *SMALL, *observed, "demonstrations.episodes=0")

    def figures(port, name, least):
        assert process.poll() is None, process.communicate()[0]
        found = scrape(port)
        return found if found.get(name, 0.0) > least else {}

    found = wait_until(lambda: figures(of_learner, 'journeyman_updates_total{agent=""}', 0), timeout_s=240.0)
    assert found['journeyman_environment_steps_total{agent=""}'] > 60
    assert found['journeyman_actors_connected{agent=""}'] == 1
    assert found['journeyman_malformed_messages_total{agent=""}'] == 0
    assert found['journeyman_free_disk_bytes{agent=""}'] > 0
    assert any("critic_loss" in name for name in found)
    # From a second ago at most.
    acted = wait_until(lambda: figures(of_actor, "journeyman_actor_items_total", 60), timeout_s=60.0)
    assert 'journeyman_actor_state{state="learning"}' in acted

    wait_for_steps(tmp_path, process, 150)
    children = [*child_pids(process, "learner"), *child_pids(process, "actor")]
    assert len(children) == 2
    process.send_signal(signal.SIGINT)
    code, output = finish(process)
    assert code == 130, output
    assert "journeyman train run=" in output
    assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    stopped = summary(tmp_path)
    assert stopped["environment_steps"] == stopped["transitions_sent"]
    check_what_was_observed((tmp_path / "runs/latest").resolve(), output)

    more = f"learner.max_environment_steps={stopped['environment_steps'] + 50}"
    code, output = train(tmp_path, "run=runs/latest", more)
    assert code == 0, output
    later = summary(tmp_path)
    assert later["environment_steps"] == stopped["environment_steps"] + 50
    assert later["demonstrations"] == 0


def check_what_was_observed(run, output):
    assert [path.stat().st_size > 1000 for path in (run / "tensorboard").iterdir()] == [True]
    logs = {path.name: path.read_bytes().splitlines() for path in (run / "logs").glob("*.jsonl")}
    assert logs.keys() == {"train.jsonl", "learner.jsonl", "actor.actor-0.jsonl"}
    said = {name: [json.loads(line)["message"] for line in lines] for name, lines in logs.items()}
    assert any("joins at item 0" in message for message in said["learner.jsonl"])
    assert any("robot is parked" in message for message in said["actor.actor-0.jsonl"])
    for line in ("Run runs/", "Stopping. Go on later with"):  # On the terminal as ever, and in the log.
        assert line in output
        assert any(message.startswith(line) for message in said["train.jsonl"])


def test_a_killed_supervisor_takes_its_processes_with_it(tmp_path, wait_until):
    process = start(tmp_path, *SMALL, "learner.max_environment_steps=100000")
    wait_for_steps(tmp_path, process, 70)
    children = [*child_pids(process, "learner"), *child_pids(process, "actor")]
    process.kill()
    process.communicate()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), 60.0)


def test_learner_and_actor_started_by_hand(tmp_path):
    """As on two machines: an address, keys, and no supervisor."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"transport.address=tcp://127.0.0.1:{probe.getsockname()[1]}"
    keys = tmp_path / "keys"
    create_keys(keys, "learner")
    public, _ = create_keys(keys, "actor-0")
    (keys / "actors").mkdir()
    shutil.move(public, keys / "actors")
    small = [*SMALL, "learner.max_environment_steps=120", "transport.keys=keys"]
    learner = start(tmp_path, *small, address, verb="learner")
    actor = start(tmp_path, *small, address, verb="actor")
    code, output = finish(learner)
    assert code == 0, output
    assert "120 environment steps" in output
    code, output = finish(actor)
    assert code == 0, output


GULLIBLE = """
from robot_env.contracts import Reward

class Gullible:
    def restart(self):
        self.looks = 0

    def reward(self, observation):
        self.looks += 1
        return Reward(0.0, self.looks == 5)

def make(env, config):
    return Gullible()
"""


def test_a_reward_that_can_be_fooled_is_found_out(tmp_path):
    """It calls the fifth step of every episode a success; hardly ever is the arm at its goal by then."""
    (tmp_path / "gullible.py").write_text(GULLIBLE)
    reward = ["reward.name=gullible", "reward.factory=gullible.make"]
    code, output = finish(
        start(
            tmp_path,
            *SMALL,
            *reward,
            "algorithm.config.utd_ratio=1",
            "learner.max_environment_steps=200",
            path=[tmp_path],
        )
    )
    assert code == 0, output
    result = summary(tmp_path)
    watched = result["reward_watch"]
    assert result["reward"] == "gullible"
    assert watched["successes"] == watched["episodes"] == 200 // 5
    assert watched["false_successes"] > 20
    assert result["success_rate"] < 1.0, "the truth judges"
    assert "successes were false" in output
