import numpy as np
import pytest

from agent.config import InputError
from controllers.state import RobotState
from journeyman import spot_checks
from journeyman.cli import main
from reward_models.success_classifier.labels import TRUTH, LabelFile
from robot_env.episodes import EpisodeWriter


def state(stamp_s):
    zero = np.zeros(3)
    return RobotState(
        stamp_s, *np.zeros((3, 2)), zero, np.array([1.0, 0.0, 0.0, 0.0]), zero, zero, np.zeros(6), 0.04
    )


def record(path, steps, success):
    task = {"name": "grey", "reward": {"kind": "sparse", "success": 0.0, "step": -1.0}}
    writer = EpisodeWriter(
        path, task=task, robot="fake", state_names=("x",), action_size=1, judge="classifier"
    )
    seen = {"state": np.zeros(1), "front": np.zeros((4, 6, 3), np.uint8)}
    writer.start(seen, state(0.0))
    for step in range(1, steps + 1):
        ends = step == steps
        writer.step(np.zeros(1), -1.0, seen, ends and success, ends and not success, state(0.1 * step))
    writer.finish(success)


@pytest.fixture
def folder(tmp_path):
    """20 episodes of 1 to 20 steps; every fourth was judged a success."""
    for number in range(20):
        record(tmp_path / f"actor-0-{number:06d}.mcap", number + 1, number % 4 == 0)
    return tmp_path


def test_half_of_the_drawn_were_judged_successes_and_none_is_drawn_twice(folder):
    checks = spot_checks.draw(folder, 6)
    assert sum(check.success for check in checks) == 3
    assert len({check.episode for check in checks}) == 6
    for check in checks:
        number = int(check.episode[8:14])
        assert check.steps == number + 1
        assert check.environment_steps == sum(range(1, number + 2))


def test_more_are_drawn_beside_those_before(folder):
    first = spot_checks.draw(folder, 4)
    more = spot_checks.draw(folder, 8)
    assert more[:4] == first
    assert len({check.episode for check in more}) == 8
    assert spot_checks.read(folder) == more


def test_only_what_a_person_said_of_the_last_frame_counts(folder):
    checks = spot_checks.draw(folder, 6)
    labels = LabelFile(folder)
    right, wrong, other_frame, by_truth, skipped, _ = checks
    labels.add(right.episode, [right.steps], "success" if right.success else "failure", "ada")
    labels.add(wrong.episode, [wrong.steps], "failure" if wrong.success else "success", "ada")
    labels.add(other_frame.episode, [0], "success", "ada")
    labels.add(by_truth.episode, [by_truth.steps], "success", TRUTH)
    labels.add(skipped.episode, [skipped.steps], "skip", "ada")
    watched = spot_checks.watch(folder)
    assert watched["episodes"] == 2
    assert watched["false_successes"] + watched["missed_successes"] == 1


def test_nobody_looked(folder):
    assert spot_checks.watch(folder) is None
    spot_checks.draw(folder, 2)
    assert spot_checks.watch(folder) is None


def test_the_command_draws_and_tells_what_was_found(folder, capsys):
    sheets = folder / "sheets"
    assert main(["label", str(folder), "--spot-check", "4", "--sheets", str(sheets)]) == 0
    checks = spot_checks.read(folder)
    assert {path.stem for path in sheets.iterdir()} == {check.episode[:-5] for check in checks}
    words = [f"{check.episode}:{check.steps}=failure" for check in checks]
    assert main(["label", str(folder), *words]) == 0
    assert "Spot checks of 4 episodes: 2 of 2 successes were false" in capsys.readouterr().out


@pytest.mark.parametrize("count", ["0", "-3"])
def test_a_senseless_number_is_refused(folder, count, capsys):
    assert main(["label", str(folder), "--spot-check", count]) == 2
    assert "must be at least 1" in capsys.readouterr().err


def test_an_empty_folder_and_a_damaged_list_are_refused(tmp_path):
    with pytest.raises(InputError, match="no episodes"):
        spot_checks.draw(tmp_path, 3)
    (tmp_path / "spot_checks.json").write_text("[{]")
    with pytest.raises(InputError, match="damaged"):
        spot_checks.read(tmp_path)


def test_rewards_of_a_learned_judge_are_not_taken_for_the_truth(folder, capsys):
    assert main(["label", str(folder), "--from-truth"]) == 2
    assert "reward=classifier" in capsys.readouterr().err
