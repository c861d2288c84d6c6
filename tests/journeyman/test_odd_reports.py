"""Whatever an actor reports, the learner goes on, and so does everybody who reads its journal."""

import tempfile
from pathlib import Path
from types import SimpleNamespace

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agent.checkpoint import Checkpoints
from agent.journal import Journal, JournalReader
from agent.learner import Learner, LearnerConfig
from agent.reports import KINDS, OTHER, admitted
from agent.transport.messages import decode_report, encode_report
from journeyman import interventions, practice_report, protection, reward_watch
from journeyman.config import compose
from journeyman.live import LiveView
from journeyman.report import _summary
from journeyman.run_directory import RunDirectory
from journeyman.sinks.assembly import JournalTap
from journeyman.sinks.sink import Outlets
from journeyman.sinks.tensorboard import TensorBoardOptions, TensorBoardSink

AT = {"environment_steps": 9, "policy_version": 3}
EPISODE = {
    **AT, "kind": "episode", "actor": "a", "episode": 0, "steps": 5, "return": -1.0, "interventions": 1,
    "intervened_steps": 2, "success": True, "trouble": "", "resets": 1, "failed_resets": 0, "human_resets": 0,
    "start": "task", "limit_hits": {"speed": 2}, "observation_ages": {"pose.mean_s": 0.1}, "missed_deadlines": 0,
    "ticks": 5, "worst_lateness_s": 0.1, "true_success": False,
}  # fmt: skip
EVALUATION = {
    **AT, "kind": "evaluation", "episodes": 2, "successes": 1, "success_rate": 0.5, "success_low": 0.1,
    "success_high": 0.9, "mean_return": -3.0, "mean_length": 5.0,
}  # fmt: skip
STATE = {
    "kind": "state", "actor": "a", "state": "waiting_for_human", "before": "learning", "seconds_before": 1.0, "why": "",
}  # fmt: skip
FAULT = {"kind": "fault", "actor": "a", "environment_steps": 9, "message": "gone"}
REFUSED = {"kind": "policy_refused", "actor": "a", "environment_steps": 9, "message": "no"}
GOOD = (EPISODE, EVALUATION, STATE, FAULT, REFUSED)

scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9)
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(st.text(max_size=5), scalars, max_size=2)
config = compose(["task=reach"])
of_a_learner = {"offline": values, "agent": values, "time": values, "environment_steps": values}
odd_keys = st.fixed_dictionaries({}, optional=of_a_learner)


@st.composite
def reports(draw):
    """A good report, of which something is missing, replaced or too much."""
    report = dict(draw(st.sampled_from(GOOD)))
    for key in draw(st.lists(st.sampled_from(sorted(report)), max_size=2)):
        report.pop(key, None)
    for key in draw(st.lists(st.sampled_from(sorted(report) or ["kind"]), max_size=2)):
        report[key] = draw(values)
    return decode_report(encode_report(report | draw(odd_keys)))


def test_a_good_report_stays_what_it_is():
    for report in GOOD:
        assert admitted(report) == report
    assert {report["kind"] for report in GOOD} == set(KINDS)


def test_one_that_lacks_what_its_kind_has_is_kept_as_another():
    assert admitted({"kind": "episode", "steps": 3}) == {"kind": OTHER, "steps": 3}
    assert admitted({"kind": "learner", "offline": 5}) == {"kind": OTHER}
    for rate in (1.01, -0.5, float("nan"), float("inf")):  # Or it would be the best policy for ever.
        assert admitted({**EVALUATION, "success_rate": rate})["kind"] == OTHER
    assert admitted({"kind": ["episode"]})["kind"] == admitted({})["kind"] == OTHER


def learner_of(said, journal, folder):
    """As much of a learner as takes in reports."""
    nothing = dict.fromkeys(("raise_if_dead", "poll", "sync", "set_progress"), lambda *_: None)
    server = SimpleNamespace(**nothing, poll_reports=lambda: said)
    sampler = SimpleNamespace(environment_steps=0)
    checkpoints = Checkpoints(folder / "checkpoints")
    return Learner(LearnerConfig(), SimpleNamespace(utd_ratio=1), sampler, server, checkpoints, journal)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(said=st.lists(reports(), min_size=1, max_size=6))
def test_whatever_is_reported_learner_sinks_view_and_report_go_on(said, capsys):
    complaints = []
    with tempfile.TemporaryDirectory() as name:
        run = RunDirectory(Path(name))
        sinks = {"tensorboard": TensorBoardSink(TensorBoardOptions(), run.path / "tensorboard")}
        outlets = Outlets(sinks, complaints.append)
        journal = Journal(run.journal, JournalTap(outlets, run, ("",)))
        view = LiveView(config, run)
        learner_of(said, journal, run.path).receive()
        journal.close()
        view.refresh()
        outlets.close()
        entries = JournalReader(run.journal).new()
        assert len(entries) == len(said)
        assert complaints == []
        episodes = [entry for entry in entries if entry["kind"] == "episode"]
        final = SimpleNamespace(**EVALUATION)
        _summary(config, entries, {"": final})
        interventions.summarise(episodes)
        practice_report.summarise([e for e in entries if e["kind"] == "state"], episodes)
        protection.summarise(entries, {})
        reward_watch.watch(episodes)
