"""Which sinks a run has, and what they get."""

import msgspec
import pytest

from agent.config import InputError
from agent.journal import Journal
from controllers.config import InputError as RobotInputError
from journeyman.config import SinkConfig, compose
from journeyman.run_directory import RunDirectory
from journeyman.sinks.assembly import JournalTap, make_sinks
from journeyman.sinks.sink import Outlets
from journeyman.sinks.tensorboard import TensorBoardSink


def with_sink(factory, **options):
    return msgspec.structs.replace(compose([]), sink={"mine": SinkConfig(factory=factory, **options)})


def test_a_run_has_event_files_unless_it_wants_none(tmp_path):
    (sink,) = make_sinks(compose([]), tmp_path, "learner").values()
    assert isinstance(sink, TensorBoardSink)
    assert make_sinks(compose([]), tmp_path, "actor") == {}
    assert make_sinks(compose(["sink=[]"]), tmp_path, "learner") == {}


def test_a_sink_that_does_not_exist_is_named_with_those_that_do():
    with pytest.raises(
        InputError, match=r"no sink 'tensorbord'; choose from .*tensorboard.*mean 'tensorboard'"
    ):
        compose(["sink=[tensorbord]"])


@pytest.mark.parametrize(
    "factory", ["journeyman.sinks.none.make", "agent.storage.write_atomically", "builtins.print"]
)
def test_a_factory_that_makes_no_sink_is_refused(tmp_path, factory):
    with pytest.raises((InputError, RobotInputError), match=r"sink\.mine\.factory"):
        make_sinks(with_sink(factory), tmp_path, "learner")


def test_what_the_journal_says_arrives_with_the_state_of_the_folder(tmp_path, recorded):
    run, sink = RunDirectory(tmp_path), recorded()
    (tmp_path / "checkpoints/000000100").mkdir(parents=True)
    (tmp_path / "checkpoints/000000100/state.json").write_text("{}")
    outlets = Outlets({"sink": sink}, pytest.fail)
    journal = Journal(run.journal, JournalTap(outlets, run, ("",)))
    journal.write_report({"kind": "episode", "environment_steps": 40, "return": -3.0, "success": False})
    journal.write("learner", {"environment_steps": 50, "updates": 7, "offline": [0, 0], "actors": ["a", "b"]})
    journal.write("session", {"wall_s": 1.0})  # No step of its own: nothing to draw it over.
    journal.close()
    outlets.close()
    (first, episode), (second, learner) = sink.points
    assert (first, episode) == (40, {"episode/return": -3.0, "episode/success": 0.0})
    assert second == 50
    assert learner.pop("run/free_disk_bytes") > 0
    assert 0.0 <= learner.pop("run/checkpoint_age_s") < 600
    assert learner == {"learner/updates": 7, "learner/actors": 2, "learner/environment_steps": 50}


def test_what_goes_wrong_is_told_also_where_nobody_says_when(tmp_path, recorded):
    run, sink = RunDirectory(tmp_path), recorded()
    outlets = Outlets({"sink": sink}, pytest.fail)
    tap = JournalTap(outlets, run, ("",))
    tap({"kind": "rollback", "environment_steps": 50, "updates": 9, "message": "diverged"})
    tap({"kind": "agent_failed", "agent": "back", "message": "no"})
    tap({"kind": "state", "seconds_before": 3.0})
    outlets.close()
    assert sink.points == [(50, {"rollback/happened": 1.0}), (50, {"agent_failed.back/happened": 1.0})]


def test_agents_are_told_apart(tmp_path, recorded):
    run, sink = RunDirectory(tmp_path), recorded()
    outlets = Outlets({"sink": sink}, pytest.fail)
    JournalTap(outlets, run, ("there", "back"))(
        {"kind": "learner", "agent": "back", "environment_steps": 5, "updates": 1, "offline": [0, 0]}
    )
    outlets.close()
    ((_, values),) = sink.points
    assert values["learner.back/updates"] == 1
    assert "run.back/free_disk_bytes" in values


def test_a_run_that_is_gone_ends_nothing(tmp_path, recorded):
    sink = recorded()
    outlets = Outlets({"sink": sink}, pytest.fail)
    tap = JournalTap(outlets, RunDirectory(tmp_path / "gone"), ("",))
    tap({"kind": "learner", "environment_steps": 5, "updates": 1, "offline": [0, 0]})
    outlets.close()
    assert sink.points == [(5, {"learner/updates": 1, "learner/environment_steps": 5})]
