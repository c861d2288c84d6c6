import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.learner import Learner
from agent.learner_config import LearnerConfig
from agent.record_log import FrameKind, RecordLog
from agent.transition import Provenance, TransitionSpec
from agent.transport.intake import Intake, Outcome
from agent.transport.quarantine import Inspector, Quarantine, count_reasons

STREAM = b"s" * 16
SPEC = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {
            "state": gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32),
            "angle": gymnasium.spaces.Box(np.float32([-2, -np.inf]), np.float32([2, np.inf])),
            "front": gymnasium.spaces.Box(0, 255, (2, 2, 3), np.uint8),
        }
    ),
    gymnasium.spaces.Box(-1, 1, (2,), np.float32),
)


def good(count, seed=0):
    """What a robot may measure, at the very bounds too."""
    rng = np.random.default_rng(seed)
    rows = np.zeros(count, SPEC.dtype)
    for prefix in ("observation", "next_observation"):
        rows[f"{prefix}.state"] = 10.0 ** rng.uniform(-30, 30, (count, 3)) * rng.choice([-1, 1], (count, 3))
        rows[f"{prefix}.angle"] = rng.choice([-2.00001, 2.0, 0.0], (count, 2)) * [1, 1e9]
        rows[f"{prefix}.front"] = rng.integers(0, 256, (count, 2, 2, 3))
    rows["action"] = rng.choice([-1.0, 1.0, 1.000001, 0.3], (count, 2))
    rows["reward"] = 1e30 * rng.normal(size=count)
    for name in ("terminated", "truncated", "intervened"):
        rows[name] = rng.integers(0, 2, count)
    rows["provenance"] = rng.integers(0, len(Provenance), count)
    rows["policy_version"] = rng.integers(-1, 9, count)
    rows["step"] = np.arange(count)
    return rows


def set_flag(value):
    return lambda field: field.view(np.uint8).__setitem__(..., value)


POISONS = {
    "observation.state is not finite": ("observation.state", lambda f: f.__setitem__((..., 1), np.nan)),
    "next_observation.state is not finite": (
        "next_observation.state", lambda f: f.__setitem__((..., 2), -np.inf)
    ),
    "observation.angle is not finite": ("observation.angle", lambda f: f.__setitem__((..., 1), np.inf)),
    "next_observation.angle is out of bounds": (
        "next_observation.angle", lambda f: f.__setitem__((..., 0), -2.01)
    ),
    "action is not finite": ("action", lambda f: f.__setitem__((..., 0), np.nan)),
    "action is out of bounds": ("action", lambda f: f.__setitem__((..., 1), 1.01)),
    "reward is not finite": ("reward", lambda f: f.__setitem__(..., np.inf)),
    "terminated is neither true nor false": ("terminated", set_flag(2)),
    "truncated is neither true nor false": ("truncated", set_flag(255)),
    "intervened is neither true nor false": ("intervened", set_flag(7)),
    "provenance is unknown": ("provenance", lambda f: f.__setitem__(..., 4)),
    "episode is negative": ("episode", lambda f: f.__setitem__(..., -1)),
    "step is negative": ("step", lambda f: f.__setitem__(..., -1)),
}  # fmt: skip


def poison(rows, reasons):
    """Give each row with a reason what that names."""
    for row, reason in enumerate(reasons):
        if reason:
            name, spoil = POISONS[reason]
            spoil(rows[row : row + 1][name])
    return rows


REASONS = st.lists(st.sampled_from(["", "", "", *POISONS]), min_size=1, max_size=12)


@pytest.mark.parametrize("reason", POISONS)
def test_each_poison_is_recognised_by_name_wherever_it_lies(reason):
    for row in range(3):
        reasons = ["", "", ""]
        reasons[row] = reason
        runs = Inspector(SPEC).runs(poison(good(3), reasons).tobytes())
        assert [(run.first, run.end) for run in runs if run.reason] == [(row, row + 1)]
        assert {run.reason for run in runs} == {"", reason}


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_what_a_robot_may_measure_is_no_poison(seed):
    assert Inspector(SPEC).runs(good(50, seed).tobytes()) == [(0, 50, "")]


class Receiver:
    """Intake, replay log and quarantine of one learner process."""

    def __init__(self, folder):
        self.log = RecordLog.open(folder / "replay.log", SPEC.dtype)
        self.quarantine = Quarantine(folder / "quarantine.log", SPEC)
        self.intake = Intake(SPEC.dtype, self.log, 1 << 30, None, self.quarantine)
        self.intake.join(STREAM, 0)

    def close(self):
        self.log.close()
        self.quarantine.close()

    def take(self, rows, first):
        return self.intake.take(FrameKind.RECORDS, STREAM, first, len(rows), rows.tobytes())

    def handed_over(self):
        taken = []
        while (records := self.intake.poll()) is not None:
            taken += records["policy_version"].tolist()
        return taken

    def stored(self):
        return [number for records in self.log.records() for number in records["policy_version"].tolist()]


@given(REASONS, st.lists(st.tuples(st.integers(0, 11), st.integers(1, 12), st.booleans()), max_size=6))
@settings(max_examples=40, deadline=None)
def test_poison_never_enters_the_replay_and_everything_is_stored_once(tmp_path_factory, reasons, arrivals):
    """Whatever is sent again, in whatever batches, with or without a restart between them."""
    folder = tmp_path_factory.mktemp("run")
    rows = poison(good(len(reasons)), reasons)
    rows["policy_version"] = np.arange(len(rows))
    receiver, handed_over = Receiver(folder), []
    for first, count, restarts in [*arrivals, (0, len(rows), False), (0, len(rows), True)]:
        batch = rows[first : first + count]
        expected = receiver.intake.expected(STREAM)
        outcome = receiver.take(batch, first)
        assert (outcome is Outcome.GAP) == (first > expected)
        if len(batch):
            assert receiver.intake.expected(STREAM) == (
                expected if first > expected else max(expected, first + len(batch))
            )
        handed_over += receiver.handed_over()
        if restarts:
            receiver.close()
            receiver = Receiver(folder)
    healthy = [number for number, reason in enumerate(reasons) if not reason]
    assert handed_over == receiver.stored() == healthy
    assert receiver.intake.environment_steps == len(healthy)
    assert receiver.intake.expected(STREAM) == len(rows)
    receiver.close()
    told, cursors = count_reasons(folder / "quarantine.log", SPEC.dtype)
    assert told == {reason: reasons.count(reason) for reason in reasons if reason}
    assert (folder / "quarantine.log").exists() == bool(told)
    if told:
        log = RecordLog.open(folder / "quarantine.log", SPEC.dtype)
        kept = np.concatenate(list(log.records()))
        log.close()
        assert sorted([*healthy, *kept["policy_version"].tolist()]) == list(range(len(rows)))
        assert kept.tobytes() == rows[[bool(reason) for reason in reasons]].tobytes()
        assert cursors[STREAM] == max(kept["policy_version"]) + 1


@pytest.mark.parametrize("call", range(1, 8))
def test_a_disk_that_fails_at_any_write_loses_and_doubles_nothing(tmp_path, monkeypatch, call):
    reasons = ["", "reward is not finite", "reward is not finite", "", "action is not finite", ""]
    rows = poison(good(6), reasons)
    rows["policy_version"] = np.arange(6)
    receiver, writes = Receiver(tmp_path), []
    append = RecordLog.append_raw

    def failing(log, *arguments):
        writes.append(log.path.name)
        if len(writes) == call:
            raise OSError(28, "No space left on device")
        append(log, *arguments)

    monkeypatch.setattr(RecordLog, "append_raw", failing)
    first = receiver.take(rows, 0)
    assert (first is Outcome.UNWRITTEN) == (call <= 7)
    receiver.close()
    again = Receiver(tmp_path)
    assert again.take(rows, 0) is Outcome.STORED
    assert again.stored() == [0, 3, 5]
    again.close()
    assert count_reasons(tmp_path / "quarantine.log", SPEC.dtype)[0] == {
        "reward is not finite": 2,
        "action is not finite": 1,
    }


def test_actors_get_rid_of_poison_and_the_learner_hears_of_it_at_powers_of_two(
    tmp_path, serve, join, rows, spec, take, open_log, caplog
):
    quarantine = Quarantine(tmp_path / "quarantine.log", spec)
    server = serve(record_log=open_log(), quarantine=quarantine)
    client = join(server.address)
    sent = rows(0, 40)
    sent["observation.state"] = sent["next_observation.state"] = 0.0
    sent["reward"][1::2] = np.nan
    for row in range(40):
        client.send(sent[row : row + 1])
        assert client.flush(20)
    assert take(server, 20) == list(range(0, 40, 2))
    assert server.environment_steps == 20
    assert client.unacknowledged == 0
    assert quarantine.count == 20
    news = quarantine.take_news()
    assert [entry["count"] for entry in news] == [1, 2, 4, 8, 16]
    assert {(entry["actor"], entry["reason"]) for entry in news} == {("actor-0", "reward is not finite")}
    assert [entry["step"] for entry in news] == [1, 3, 7, 15, 31]
    assert sum("not learned from: reward is not finite" in line for line in caplog.messages) == 5
    quarantine.close()


def test_poison_by_turns_holds_up_nobody_for_long_and_arrives_all_the_same(
    serve, join, open_log, tmp_path, rows, spec, monkeypatch
):
    """Each turn forces the log to disk: a message of a sensor that fails every other step would take many seconds."""
    monkeypatch.setattr("agent.transport.intake._MOST_AT_ONCE_S", 0.0)
    log, quarantine = open_log(), Quarantine(tmp_path / "quarantine.log", spec)
    server = serve(record_log=log, quarantine=quarantine)
    records = rows(0, 60)
    records["observation.state"] = 0.0
    records["reward"][::2] = np.nan
    intake = Intake(spec.dtype, None, 1 << 20, None, quarantine)
    intake.join(STREAM, 0)
    assert intake.take(FrameKind.RECORDS, STREAM, 0, 60, records.tobytes()) is Outcome.LATER
    assert intake.expected(STREAM) < 60
    client = join(server.address)
    client.send(records)
    assert client.flush(20.0)
    assert [row["step"] for part in log.records() for row in part] == list(range(1, 60, 2))
    kept = [f for f in quarantine._log.frames() if f.kind is FrameKind.RECORDS and f.stream != STREAM]
    assert [frame.first_sequence for frame in kept] == list(range(0, 60, 2))


def test_the_learner_writes_it_down():
    """In its journal, with the name of the agent."""

    class Told:
        def take_news(self):
            return [{"actor": "a", "count": 4}]

    class Nothing:
        def __getattr__(self, name):
            return lambda *_, **__: None

        environment_steps, offline_updates, utd_ratio, malformed_messages = 0, 0, 1, 0

        def poll_reports(self):
            return []

    written = []
    journal = Nothing()
    journal.write = lambda kind, values: written.append((kind, values))
    learner = Learner(
        LearnerConfig(), Nothing(), Nothing(), Nothing(), Nothing(), journal, None, "back", Told()
    )
    learner.receive()
    assert written == [("quarantine", {"actor": "a", "count": 4, "agent": "back"})]
