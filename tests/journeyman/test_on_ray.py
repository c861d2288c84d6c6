"""Commands on a Ray cluster of this machine: what dies is tried again, and nothing outlives who asked."""

import importlib.util
import itertools
import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from agent.config import InputError
from journeyman.cli import main
from journeyman.config import compose
from journeyman.fleet import FleetConfig, actor_commands
from journeyman.on_ray import Ended, exit_code_of, split_options
from journeyman.sweep import SweepConfig, combinations

ROOT = Path(__file__).parents[2]
needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: the extra `scale`")

DRIVER = """
from journeyman.on_ray import Command, RayConfig, run_all

if __name__ == "__main__":
    commands = [Command(name, ("command.py", name)) for name in ("dies_once", "is_wrong", "dies", "goes_on")]
    ended = run_all(commands, RayConfig(restarts=1, cpus=0.25), lambda said: print(said, flush=True))
"""
COMMAND = """
import os, signal, sys, time
from pathlib import Path

name = sys.argv[1]
started = Path(f"{name}.started")
again = started.exists()
signal.signal(signal.SIGTERM, lambda *_: sys.exit(Path("asked_to_end").touch()))
started.touch()
print("These are my last words", flush=True)
if name == "dies_once" and not again or name == "dies":
    os.kill(os.getpid(), 9)
if name == "is_wrong":
    sys.exit(2)
while name == "goes_on":
    time.sleep(0.05)
"""


def of_the_test(folder):
    """Processes that work for it, Ray's own among them."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"FLEET_TEST={folder}".encode() in (path / "environ").read_bytes().split(b"\0"):
                found.append(int(path.name))
    return found


@needs_ray
@pytest.mark.parametrize(
    "ending", ["SIGKILL", pytest.param("SIGTERM", marks=[pytest.mark.slow, pytest.mark.soak])]
)
def test_what_dies_is_tried_again_and_nothing_outlives_who_asked(tmp_path, wait_until, ending):
    (tmp_path / "driver.py").write_text(DRIVER)
    (tmp_path / "command.py").write_text(COMMAND)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "FLEET_TEST": str(tmp_path)}
    driver = subprocess.Popen(
        [sys.executable, "driver.py"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    try:
        ours = (line.strip() for line in driver.stdout if re.match(r"\w+ (is done|ended)", line))
        said = sorted(itertools.islice(ours, 3))  # Between them Ray says what it starts again.
        wait_until((tmp_path / "goes_on.started").exists, 120.0, "the last command")
        assert said[1:] == ["dies_once is done.", "is_wrong ended with 2: These are my last words"]
        assert said[0].startswith("dies ended with 1: ")
        assert "dies died (-9): These are my last words" in said[0]
    finally:
        driver.send_signal(getattr(signal, ending))
        driver.communicate(timeout=120)
    wait_until(lambda: not of_the_test(tmp_path), 120.0, "the end of all processes")
    # Where the driver was killed it is for Ray how the commands end.
    assert ending == "SIGKILL" or (tmp_path / "asked_to_end").exists()


def test_actors_of_a_fleet_differ_by_name_and_only_the_first_evaluates():
    config, rest = split_options(FleetConfig, ["actors=3", "task=reach", "cpus=0.5", "name=twin"], "fleet")
    commands = actor_commands(config, rest)
    assert [command.name for command in commands] == ["twin-0", "twin-1", "twin-2"]
    told = [compose(command.arguments[4:]).actor for command in commands]
    assert [one.name for one in told] == ["twin-0", "twin-1", "twin-2"]
    assert [one.evaluate_every for one in told] == [compose(["task=reach"]).actor.evaluate_every, 0, 0]
    assert all(command.arguments[:4] == ("-m", "journeyman", "actor", "--supervised") for command in commands)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["actor.name=mine"], "leave out actor.name"),
        (["task=nope"], "There is no task 'nope'"),
        (["actors=0"], "actors 0 must be at least 1"),
        (["cpus=0"], "cpus 0.0 must be positive"),
        (["restarts=-1"], "restarts -1 must not be negative"),
        (["run=runs/none"], "not a run directory"),
    ],
)
def test_a_fleet_that_could_not_act_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        actor_commands(*split_options(FleetConfig, words, "fleet"))


def test_a_sweep_makes_every_combination_once():
    config, rest = split_options(
        SweepConfig,
        ["seed=0,1", "cpus=4", "algorithm=rlpd,sac", "task=reach", "learner.n_steps=range(1,4)"],
        "sweep",
    )
    assert (config.cpus, config.restarts) == (4.0, 0)
    found = {tuple(words) for words in combinations([*rest, "algorithm.config.hidden_sizes=[8,8]"])}
    assert found == {
        (
            f"seed={seed}",
            f"algorithm={name}",
            "task=reach",
            f"learner.n_steps={n}",
            "algorithm.config.hidden_sizes=[8,8]",
        )
        for seed in (0, 1)
        for name in ("rlpd", "sac")
        for n in (1, 2, 3)
    }


@pytest.mark.parametrize(
    ("words", "said"), [(["run=runs/latest"], "leave out run="), (["seed=0,1", "task=["], "write choices as")]
)
def test_a_sweep_that_is_none_is_refused(words, said):
    with pytest.raises(InputError, match=said):
        combinations(words)


def test_the_exit_code_of_many_is_that_of_the_first_that_is_not_done():
    done, wrong, died = Ended(0, ""), Ended(2, "no"), Ended(1, "died")
    assert exit_code_of({"a": done, "b": done}) == 0
    assert exit_code_of({"a": done, "b": wrong, "c": died}) == 2


@pytest.mark.parametrize("verb", ["fleet", "sweep"])
def test_without_ray_a_sentence_says_what_to_install(verb, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main([verb, "task=reach"]) == 2
    assert "pip install 'journeyman[scale]'" in capsys.readouterr().err
