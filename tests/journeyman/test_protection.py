import gymnasium
import numpy as np

from agent.record_log import FrameKind, RecordLog
from agent.transition import TransitionSpec
from agent.transport.intake import Intake
from agent.transport.messages import encode_report
from agent.transport.quarantine import Quarantine
from journeyman import protection
from journeyman.report import _count_of_agent
from journeyman.run_directory import RunDirectory

SPEC = TransitionSpec.of(gymnasium.spaces.Box(-1, 1, (3,)), gymnasium.spaces.Box(-1, 1, (2,)))


def test_what_was_kept_aside_is_counted_as_stored_and_nothing_seems_lost(tmp_path):
    home = RunDirectory(tmp_path)
    log, quarantine = RecordLog.open(home.replay_log, SPEC.dtype), Quarantine(home.quarantine, SPEC)
    intake = Intake(SPEC.dtype, log, 1 << 20, None, quarantine)
    rows = np.zeros(10, SPEC.dtype)
    rows["reward"][[2, 3]] = np.nan
    rows["action"][9] = 3.0
    intake.join(b"s" * 16, 0)
    intake.take(FrameKind.REPORT, b"s" * 16, 0, 1, encode_report({"kind": "episode"}))
    intake.take(FrameKind.RECORDS, b"s" * 16, 1, 10, rows.tobytes())
    log.close()
    quarantine.close()
    aside = {"reward is not finite": 2, "action is out of bounds": 1}
    assert _count_of_agent(home, SPEC.dtype) == (10, 10, aside)


def test_the_report_tells_what_happened_and_is_silent_otherwise():
    kinds = [{"kind": "learner"}, {"kind": "rollback"}, {"kind": "rollback", "agent": "back"}]
    summary = protection.summarise(kinds, {"reward is not finite": 1200})
    assert summary["rollbacks"] == {"": 1, "back": 1}
    told = protection.describe(summary)
    assert summary["refused_policies"] == 0
    assert "actors refused 2 policies" in protection.describe(
        protection.summarise([{"kind": "policy_refused"}] * 2, {})
    )
    assert "went back to a checkpoint 2 times" in told
    assert "1,200 transitions were not learned from: reward is not finite (1,200)" in told
    assert protection.describe(protection.summarise(kinds[:1], {})) == ""
