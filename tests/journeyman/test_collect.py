"""`journeyman collect` as a person starts it, and as it is killed."""

import random
import signal
import time

import pytest

from journeyman.cli import main
from journeyman.collect import record_demonstrations
from journeyman.config import compose
from robot_env.episodes import list_episodes, read_episode

KILLS = 25
KILLED = ("task=reach", "episodes=4000")


def test_short_keys_and_options_of_its_own(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "task=reach", "episodes=2", "folder=somewhere", "keep_failures=true"]) == 0
    assert [path.name for path in list_episodes(tmp_path / "somewhere")] == ["0000.mcap", "0001.mcap"]
    said = capfd.readouterr().out
    assert "0001.mcap is finished." in said
    assert "2 episodes in somewhere\n" in said
    # What is there counts, whoever acted: somebody with a device in hand must learn why nothing begins.
    assert main(["collect", "task=reach", "episodes=2", "folder=somewhere", "device=expert"]) == 0
    said = capfd.readouterr().out
    assert "2 episodes in somewhere: nothing was recorded" in said
    assert "folder=DIR" in said


def test_a_slip_in_the_folder_does_not_put_two_tasks_together(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "task=reach", "episodes=1"]) == 0
    assert main(["collect", "task=lift_cube", "episodes=2", "folder=demos/reach"]) == 2
    assert "0000.mcap is an episode of task 'reach', not of 'lift_cube'" in capfd.readouterr().err
    assert len(list_episodes(tmp_path / "demos/reach")) == 1


def test_what_a_run_records_for_itself_is_not_told_one_by_one(tmp_path, capfd):
    config = compose(["task=reach"])
    record_demonstrations(config, tmp_path, 2, announced=False)
    assert len(list_episodes(tmp_path)) == 2
    assert capfd.readouterr().out == ""


def test_any_device_that_needs_nobody_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["collect", "task=reach", "episodes=1", "device=expert", "device.config.noise=0.05"]) == 0
    episode = read_episode(tmp_path / "demos/reach/0000.mcap")
    assert episode.metadata.operator == "expert"
    # A recording leads where it led from where it began only; elsewhere it fails, which is kept if asked for.
    arguments = ["device=replay", "device.config.episodes=demos/reach", "folder=again", "keep_failures=true"]
    assert main(["collect", "task=reach", "episodes=1", *arguments]) == 0
    assert (
        read_episode(tmp_path / "again/0000.mcap").actions[: len(episode.actions)] == episode.actions
    ).all()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["view=telescope"], "view"),
        (["time_limit_s=0"], "time_limit_s 0"),
        (["device=theremin"], "no device 'theremin'; choose from"),
        (["device=replay"], "device.config.episodes says what is replayed"),
        (["device=expert", "device.config.noise=-1"], "noise -1"),
        (["device=keyboard"], "standard input is no terminal"),
        (["device=keyboard", "view=window"], "A window needs a display"),
        (["device=keyboard_window", "view=none"], "A window needs a display"),
        (["device=gamepad"], "There is no gamepad"),
        (["device=spacemouse"], "There is no SpaceMouse"),
        (["device=keyboard", "device.config.keys.w=jump"], "binds 'w' to 'jump'"),
        (
            ["device=expert", "device.config.noise=10", "device.config.lapses=false"],
            "failed 5 times in a row",
        ),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, monkeypatch, capsys, arguments, complaint):
    pytest.importorskip("pygame")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    monkeypatch.delenv("JOURNEYMAN_TERMINAL", raising=False)
    assert main(["collect", "task=reach", "episodes=1", *arguments]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint in error


@pytest.mark.slow
def test_a_kill_at_any_moment_loses_nothing_that_was_finished(tmp_path, run_process):
    """The same process over and over: killed at random moments, it goes on where it was."""
    randomness = random.Random(0)
    announced: set[str] = set()
    # The program takes seconds to load: so each is forked from one that has.
    with run_process(
        "-c", FORKS, "collect", *KILLED, f"folder={tmp_path}", ready="ready", stdin=-1
    ) as process:

        def tell(word):
            process.stdin.write(f"{word}\n")
            process.stdin.flush()

        for _ in range(KILLS):
            tell("go")
            for _ in range(randomness.randint(0, 4)):
                announced.add(process.stdout.readline().split()[0])
            time.sleep(randomness.uniform(0.0, 0.06))
            tell("kill")
            while (line := process.stdout.readline()) != "killed\n":
                announced.add(line.split()[0])
    present = {path.name for path in list_episodes(tmp_path)}
    assert announced <= present
    assert len(announced) > KILLS
    assert sorted(present) == [f"{number:04d}.mcap" for number in range(len(present))]
    for path in list_episodes(tmp_path):
        episode = read_episode(path)
        assert episode.success
    seeds = [read_episode(path).metadata.seed for path in list_episodes(tmp_path)]
    assert len(set(seeds)) == len(seeds)
    kept = {path: path.read_bytes() for path in list_episodes(tmp_path)}
    assert main(["collect", "task=reach", f"episodes={len(present) + 2}", f"folder={tmp_path}"]) == 0
    assert len(list_episodes(tmp_path)) == len(present) + 2
    assert all(path.read_bytes() == content for path, content in kept.items())


FORKS = f"""
import os, signal, sys
from journeyman.cli import main
import journeyman.collect, journeyman.wiring, sim.assembly, sim.experts
print("ready", flush=True)
while sys.stdin.readline():
    child = os.fork()
    if child == 0:
        os._exit(main(sys.argv[1:]))
    sys.stdin.readline()
    os.kill(child, {signal.SIGKILL.value})
    os.waitpid(child, 0)
    print("killed", flush=True)
"""
