"""What a person sees while a run goes on, in a terminal and where there is none."""

import re

import pytest
from rich.console import Console

from agent.journal import Journal
from journeyman.config import compose
from journeyman.live import LiveView
from journeyman.run_directory import RunDirectory


@pytest.fixture
def run(tmp_path):
    return RunDirectory(tmp_path)


@pytest.fixture
def journal(run):
    journal = Journal(run.journal)
    yield journal
    journal.close()


@pytest.fixture
def config():
    return compose(["task=reach", "learner.max_environment_steps=4000"])


def progress(steps, **changes):
    entry = {"environment_steps": steps, "updates": 4 * steps, "updates_per_s": 37.6, "policy_version": steps}
    return {**entry, "actors": ["actor-0"], **changes}


def episode(success, **changes):
    return {"actor": "actor-0", "environment_steps": 20, "success": success, "policy_version": 995} | changes


EVALUATION = {
    "environment_steps": 1000, "episodes": 20, "successes": 17, "success_rate": 0.85, "success_low": 0.64,
    "success_high": 0.948,
}  # fmt: skip


def seen(view, capsys):
    """What is printed by one refresh where there is no terminal, in one line of text."""
    view._last_line_s = -1e9
    view.refresh()
    return " ".join(capsys.readouterr().out.split())


def test_before_anything_is_known_nothing_is_claimed(run, config, capsys):
    line = seen(LiveView(config, run), capsys)
    assert line.startswith("0 environment steps; evaluation -; success of last 20 -; episodes 0;")
    assert line.endswith("policy age -; time left -")


def test_a_line_says_how_the_run_is_doing(run, journal, config, capsys):
    view = LiveView(config, run)
    for success in (False, True, True, True):
        journal.write_report({"kind": "episode", **episode(success)})
    journal.write_report({"kind": "evaluation", **EVALUATION})
    journal.write("learner", progress(1000))
    said = seen(view, capsys)
    assert "evaluation at 1,000 steps: 17 of 20 (85%, 95 % interval 64% to 95%)" in said
    assert "1,000 environment steps; evaluation 85% at 1,000; success of last 20 75%; episodes 4" in said
    assert "robot minutes 1.7; updates 4,000; updates/s 38; policy age 5 steps" in said


def test_only_the_newest_episodes_count(run, journal, config, capsys):
    view = LiveView(config, run)
    for number in range(50):
        journal.write_report({"kind": "episode", **episode(number >= 30)})
    assert "success of last 20 100%; episodes 50" in seen(view, capsys)


def test_the_time_left_comes_from_the_pace(run, journal, config, capsys):
    view = LiveView(config, run)
    journal.write("learner", progress(1000))
    journal.write("learner", progress(2000))
    view.refresh()
    first_s, _ = view._speed[0]
    view._speed[-1] = (first_s + 100.0, 2000)  # A thousand steps in 100 s, two thousand to go.
    assert view._time_left() == "3:20"


def test_the_warm_start_is_what_there_is_progress_of_until_it_is_over(run, journal, config, capsys):
    view = LiveView(config, run)
    journal.write("learner", progress(0, offline=[400, 2000]))
    journal.write("learner", progress(0, offline=[1200, 2000]))
    assert "1,200 updates of the offline phase; " in seen(view, capsys)
    assert view._time_left() != "-"
    journal.write("learner", progress(30, offline=[2000, 2000]))
    said = seen(view, capsys)
    assert "30 environment steps; " in said
    assert said.endswith("time left -")  # The pace of imitation says nothing about the robot's.


def test_a_run_without_environment_steps_ends_with_its_warm_start(run, journal, capsys):
    view = LiveView(compose(["task=reach", "algorithm=bc"]), run)
    journal.write("learner", progress(0, offline=[5000, 5000]))
    assert "5,000 updates of the offline phase; " in seen(view, capsys)


def test_a_fault_is_said_at_once(run, journal, config, capsys):
    view = LiveView(config, run)
    journal.write_report(
        {"kind": "fault", "actor": "actor-0", "environment_steps": 9, "message": "/joint_states is stale."}
    )
    view.refresh()
    assert "actor-0 waits: /joint_states is stale." in capsys.readouterr().out


def test_a_question_for_a_person_is_said_with_what_to_type_and_when_it_is_over(run, journal, config, capsys):
    def now(state, before, why=""):
        journal.write_report(
            {"kind": "state", "actor": "actor-0", "state": state, "before": before, "why": why}
        )

    view = LiveView(config, run)
    now("resetting", "learning")
    now("waiting_for_human", "resetting", "Put the cube back. What is wrong: it is at [nan, nan, nan].")
    said = seen(view, capsys)
    assert "actor-0 waits for a person. Put the cube back. What is wrong: it is at [nan, nan, nan]." in said
    assert f"Then type: journeyman helped run={run.path}" in said
    now("learning", "waiting_for_human")
    assert "actor-0 waits for a person no longer." in seen(view, capsys)


def test_a_resumed_run_shows_where_it_stands_and_repeats_nothing(run, journal, config, capsys):
    journal.write_report({"kind": "evaluation", **EVALUATION})
    journal.write("learner", progress(1000))
    said = seen(LiveView(config, run), capsys)
    assert "interval" not in said
    assert said.startswith("1,000 environment steps; evaluation 85% at 1,000")


def test_a_terminal_shows_a_bar_and_the_same_values(run, journal, config, monkeypatch, capsys):
    monkeypatch.setattr("journeyman.live.Console", lambda: Console(force_terminal=True, width=160))
    journal.write("learner", progress(1000))
    with LiveView(config, run) as view:
        view.refresh()
    drawn = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert "environment steps" in drawn
    assert "1000/4000" in drawn
    for word in ("evaluation", "updates/s", "38", "time left"):
        assert word in drawn


@pytest.mark.parametrize("words", ["[/usr/lib/libx.so] is missing", "[bold", "a [/] b", "[0.1, nan]"])
def test_what_others_say_is_no_markup_and_no_order_to_the_terminal(run, journal, config, capsys, words):
    view = LiveView(config, run)
    view.message(f"The actor ended by exit code 1: {words}")
    journal.write_report({"kind": "fault", "actor": "a", "message": f"{words}\x1b]0;title\x07"})
    said = seen(view, capsys)
    assert f"exit code 1: {words}" in said
    assert f"a waits: {words}?]0;title?" in said
