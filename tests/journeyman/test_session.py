"""A person records: nothing begins without the hand, the hand's word counts, and nothing finished is lost."""

import io

import numpy as np
import pytest
from rich.console import Console

from journeyman.collect_options import CollectOptions
from journeyman.config import compose
from journeyman.session import Session
from journeyman.session_view import Phase, Picture, SessionView
from journeyman.wiring import make_env
from robot_env.assisted_env import AssistedEnv
from robot_env.episodes import list_episodes, read_episode
from robot_env.program import ThreadDiedError
from robot_env.robot import RobotUnavailableError
from robot_env.teleoperator import Event

CONFIG = compose(["task=reach", "task.episode_length_s=2", "device.name=fake"])
LOOKS_BEFORE = 3


class Person:
    """Follows a script: for each episode what is said at which step; lets the arm wait before each.

    Args:
        env: The twin.
        script: For each episode, step -> what is said or raised then; -1 is while waiting.
    """

    def __init__(self, env, script):
        self._env = env
        self._script = iter(script)
        self._said = ()

    def connect(self):
        self._expert = self._env.scene.make_expert()

    def restart(self, state):
        self._now = next(self._script, {-1: Event.QUIT})
        self._step = -LOOKS_BEFORE

    def get_action(self, state, last_action):
        self._step += 1
        said = self._now.get(self._step)
        if isinstance(said, Exception):
            raise said
        self._said = (said,) if said else ()
        if self._step <= 0:
            return None
        # Away from the goal, unless it is to be reached.
        return self._expert.act() if self._now.get("reaches") else -self._expert.act()

    def get_events(self):
        said, self._said = self._said, ()
        return said

    def disconnect(self):
        pass


class Seen:
    """A view that remembers."""

    def __init__(self):
        self.pictures, self.lines = [], []

    def show(self, now):
        self.pictures.append(now)

    def say(self, line):
        self.lines.append(line)


@pytest.fixture(scope="module")
def robot_env():
    return make_env(CONFIG)


@pytest.fixture
def record(robot_env, tmp_path):
    def record_script(script, wanted=2, **options):
        view = Seen()
        env = AssistedEnv(robot_env, Person(robot_env, script))
        chosen = CollectOptions(view="none", **options)
        Session(env, CONFIG, tmp_path, wanted, chosen, view, {}).run()
        return view

    return record_script


def names(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_an_episode_begins_with_the_hand_and_ends_by_itself(record, tmp_path):
    view = record([{"reaches": True}, {"reaches": True}])
    assert names(tmp_path) == ["0000.mcap", "0001.mcap"]
    for path in list_episodes(tmp_path):
        episode = read_episode(path)
        assert episode.success
        assert episode.terminated[-1]
        assert episode.intervened.all()
        assert np.abs(episode.actions[0]).max() > 0.1
        assert episode.metadata.operator == "person with fake"
    phases = [picture.phase for picture in view.pictures]
    assert phases.count(Phase.WAITING) == 2 * LOOKS_BEFORE
    assert phases[-1] is Phase.ENDED
    assert view.pictures[-1].kept == 2
    assert [line.split(":")[0] for line in view.lines] == ["0000.mcap", "0001.mcap"]


def test_what_a_person_says_ends_and_judges_an_episode(record, tmp_path):
    view = record([{5: Event.SUCCESS}, {4: Event.FAILURE}, {3: Event.DISCARD}, {}, {2: Event.SUCCESS}])
    assert names(tmp_path) == [
        "0000.mcap",
        "0001.mcap",
        "failures/failure-0000.mcap",
        "failures/failure-0001.mcap",
    ]
    first = read_episode(tmp_path / "0000.mcap")
    assert (first.success, len(first.actions)) == (True, 5)
    assert first.terminated[-1]
    assert first.rewards[-1] == CONFIG.task.reward.success
    said, timed_out = (read_episode(tmp_path / f"failures/failure-000{n}.mcap") for n in (0, 1))
    assert not said.success
    assert said.truncated[-1]
    assert len(timed_out.actions) == CONFIG.task.episode_steps
    assert dict(view.pictures[-1].counts) == {"success": 2, "failure": 2, "discarded": 1}


def test_failures_are_kept_among_the_episodes_only_if_asked_for(record, tmp_path):
    record([{2: Event.FAILURE}, {2: Event.SUCCESS}], keep_failures=True)
    assert [read_episode(path).success for path in list_episodes(tmp_path)] == [False, True]


def test_what_is_undone_is_kept_elsewhere_and_recorded_again(record, tmp_path):
    view = record([{2: Event.SUCCESS}, {-1: Event.UNDO, 3: Event.SUCCESS}, {4: Event.SUCCESS}])
    assert names(tmp_path) == ["0000.mcap", "0001.mcap", "undone/0000-0000.mcap"]
    steps = [len(read_episode(tmp_path / name).actions) for name in names(tmp_path)]
    assert steps == [3, 4, 2]
    assert view.pictures[-1].counts["undone"] == 1


def test_nothing_is_undone_where_nothing_is_or_while_recording(record, tmp_path):
    view = record([{-1: Event.UNDO, 2: Event.UNDO, 4: Event.SUCCESS}], wanted=1)
    messages = {picture.message for picture in view.pictures}
    assert any("no episode to undo" in message for message in messages)
    assert any("Finish or discard" in message for message in messages)
    assert names(tmp_path) == ["0000.mcap"]


@pytest.mark.parametrize("step", [-1, 2])
def test_quitting_leaves_what_was_finished(record, tmp_path, step):
    record([{2: Event.SUCCESS}, {step: Event.QUIT}], wanted=9)
    assert names(tmp_path) == ["0000.mcap"]


def test_what_is_in_the_folder_counts(record, tmp_path):
    record([{2: Event.SUCCESS}, {-1: Event.QUIT}], wanted=3)
    (tmp_path / "0000.mcap").rename(tmp_path / "0002.mcap")
    record([{3: Event.SUCCESS}, {4: Event.SUCCESS}], wanted=3)
    assert [len(read_episode(path).actions) for path in list_episodes(tmp_path)] == [3, 4, 2]


@pytest.mark.parametrize("step", [-1, 3])
def test_a_device_that_is_gone_costs_one_episode(record, tmp_path, step):
    gone = RobotUnavailableError("The gamepad is gone: plug it in.")
    view = record([{step: gone}, {2: Event.SUCCESS}], wanted=1)
    assert names(tmp_path) == ["0000.mcap"]
    assert any(p.phase is Phase.UNAVAILABLE and "gamepad is gone" in p.message for p in view.pictures)


class Silent(Person):
    """Says nothing until the arm has waited once."""

    help = {}

    @property
    def notice(self):
        return "Nothing comes from the gamepad." if self._step == 1 - LOOKS_BEFORE else ""


def test_what_is_wrong_with_a_device_is_shown_for_as_long_as_it_is(robot_env, tmp_path):
    view = Seen()
    env = AssistedEnv(robot_env, Silent(robot_env, [{2: Event.SUCCESS}]))
    Session(env, CONFIG, tmp_path, 1, CollectOptions(view="none"), view, {}).run()
    waiting = [picture.message for picture in view.pictures if picture.phase is Phase.WAITING]
    assert waiting[0] == "Nothing comes from the gamepad."
    assert waiting[-1] == ""


def test_a_verdict_between_episodes_is_explained(record):
    view = record([{-1: Event.SUCCESS, 2: Event.SUCCESS}], wanted=1)
    assert any("No episode is being recorded" in picture.message for picture in view.pictures)


def picture_of(phase=Phase.RECORDING, **changes):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3), np.uint8)
    given = {
        "kept": 3,
        "wanted": 20,
        "counts": {"success": 3},
        "step": 31,
        "elapsed_s": 3.1,
        "images": (image, image),
    }
    return Picture(phase, **(given | changes))


@pytest.mark.parametrize("size", [(120, 35), (80, 24), (40, 10), (200, 60)])
@pytest.mark.parametrize("phase", list(Phase))
def test_the_drawing_fits_its_terminal(size, phase):
    output = io.StringIO()
    console = Console(
        file=output, force_terminal=True, color_system="truecolor", width=size[0], height=size[1]
    )
    view = SessionView("reach", {"w/s": "away/back", "q": "quit"}, True, 60.0, console)
    plain = Console(file=io.StringIO(), width=size[0], height=size[1], record=True)
    plain.print(view.drawing(picture_of(phase)))
    lines = plain.export_text().splitlines()
    assert max(map(len, lines)) <= size[0]
    assert len(lines) <= max(size[1], 12)
    text = " ".join("\n".join(lines).split())
    assert str(phase) in text
    assert "kept 3" in text
    assert ("step 31" in text) == (phase is Phase.RECORDING)
    drawn = any("▀" in line for line in lines)
    assert drawn == (phase is not Phase.ENDED and size[1] >= 24)


def test_where_there_is_no_terminal_only_what_is_said_is_printed():
    output = io.StringIO()
    with SessionView("reach", {}, True, 60.0, Console(file=output, width=80)) as view:
        view.show(picture_of())
        view.say("0003.mcap: success")
    assert output.getvalue() == "0003.mcap: success\n"


def test_a_dead_drawing_thread_is_noticed(wait_until):
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    with SessionView("reach", {}, True, 60.0, console) as view:

        def is_noticed():
            try:
                view.show(picture_of(images=(np.zeros((0, 0, 3), np.uint8),)))
            except ThreadDiedError:
                return True

        wait_until(is_noticed)
