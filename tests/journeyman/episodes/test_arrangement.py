"""`journeyman episodes merge` and `split`: every recording once, with its labels, in folders that appear whole."""

import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journeyman.cli import main
from journeyman.episodes.arrangement import Source
from journeyman.episodes.splitting import divide
from reward_models.success_classifier.labels import LabelFile
from robot_env.episodes import list_episodes, read_episode


@pytest.fixture
def folders(tmp_path, record):
    """Two folders: a with 3 episodes, b with 2 and one that a has too."""
    for name, seeds in (("a", (0, 1, 2)), ("b", (3, 4))):
        (tmp_path / name).mkdir()
        for number, seed in enumerate(seeds):
            record(tmp_path / name / f"{number:04d}.mcap", seed=seed, steps=3 + seed, success=seed % 2 == 0)
    shutil.copy(tmp_path / "a/0001.mcap", tmp_path / "b/0007.mcap")
    return tmp_path


def seeds_in(folder):
    return [read_episode(path).metadata.seed for path in list_episodes(folder)]


def run(*words):
    return main(["episodes", *map(str, words)])


def test_merged_episodes_are_numbered_in_the_order_of_folders(folders, capsys):
    assert run("merge", folders / "b", folders / "a", f"into={folders / 'all'}") == 0
    assert [path.name for path in list_episodes(folders / "all")] == [f"{n:04d}.mcap" for n in range(5)]
    assert seeds_in(folders / "all") == [3, 4, 1, 0, 2]
    shown = capsys.readouterr().out
    assert f"taken once: {folders / 'b/0007.mcap'}, the same as {folders / 'a/0001.mcap'}" in shown
    assert (folders / "all/0000.mcap").read_bytes() == (folders / "b/0000.mcap").read_bytes()


def test_the_old_folders_stay_as_they_were(folders):
    before = {path: path.read_bytes() for path in folders.rglob("*.mcap")}
    assert run("merge", folders / "a", folders / "b", f"into={folders / 'all'}") == 0
    assert {path: path.read_bytes() for path in before} == before


def test_files_are_copied_where_links_fail(folders, monkeypatch):
    def refuse(*_arguments):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    assert run("merge", folders / "a", f"into={folders / 'all'}") == 0
    assert seeds_in(folders / "all") == [0, 1, 2]
    assert (folders / "all/0000.mcap").stat().st_nlink == 1


def test_a_recording_that_was_packed_anew_is_the_same_recording(folders, capsys):
    from mcap.reader import make_reader
    from mcap.writer import CompressionType, Writer

    with (folders / "a/0000.mcap").open("rb") as source, (folders / "b/0005.mcap").open("wb") as target:
        reader = make_reader(source)
        writer = Writer(target, compression=CompressionType.NONE)
        writer.start(profile="ros2")
        channels = {}
        for schema, channel, message in reader.iter_messages():
            if channel.topic not in channels:
                number = writer.register_schema(schema.name, schema.encoding, schema.data)
                channels[channel.topic] = writer.register_channel(channel.topic, "cdr", number)
            stamps = message.log_time, message.publish_time
            writer.add_message(channels[channel.topic], stamps[0], message.data, stamps[1], message.sequence)
        for record in reader.iter_metadata():
            writer.add_metadata(record.name, dict(record.metadata))
        writer.finish()
    assert run("merge", folders / "a", folders / "b", f"into={folders / 'all'}") == 0
    assert sorted(seeds_in(folders / "all")) == [0, 1, 2, 3, 4]
    assert f"the same as {folders / 'b/0005.mcap'}" in capsys.readouterr().out


def test_recordings_that_only_look_alike_are_both_kept(tmp_path, record, monkeypatch):
    """What was converted from elsewhere may have the same start, robot and seed throughout."""
    monkeypatch.setattr("time.time_ns", lambda: 10**18)
    (tmp_path / "a").mkdir()
    for number, steps in enumerate((3, 4)):
        record(tmp_path / f"a/{number:04d}.mcap", seed=None, steps=steps)
    first, second = (read_episode(path).metadata for path in list_episodes(tmp_path / "a"))
    assert first == second
    assert run("merge", tmp_path / "a", f"into={tmp_path / 'all'}") == 0
    assert len(list_episodes(tmp_path / "all")) == 2


def test_labels_go_with_their_episodes(folders):
    LabelFile(folders / "b").add("0001.mcap", [1, 2], "success", "ada")
    LabelFile(folders / "b").add("0009.mcap", [0], "success", "ada")  # Of an episode that is gone.
    LabelFile(folders / "b").add("0007.mcap", [1], "failure", "bob")  # The same recording as a/0001.
    LabelFile(folders / "a").add("0001.mcap", [2], "skip", "ada")
    assert run("merge", folders / "a", folders / "b", f"into={folders / 'all'}") == 0
    found = {frame: (label.label, label.who) for frame, label in LabelFile(folders / "all").read().items()}
    assert found == {
        ("0001.mcap", 1): ("failure", "bob"),
        ("0001.mcap", 2): ("skip", "ada"),
        ("0004.mcap", 1): ("success", "ada"),
        ("0004.mcap", 2): ("success", "ada"),
    }


def test_of_two_words_on_a_frame_the_later_counts(folders):
    """In whatever order the folders are named."""
    for name, folder, label, hour in (("0007.mcap", "b", "failure", 9), ("0001.mcap", "a", "success", 11)):
        line = {
            "episode": name,
            "step": 1,
            "label": label,
            "who": "ada",
            "when": f"2026-01-01T{hour:02d}:00:00+00:00",
        }
        (folders / folder / "labels.jsonl").write_text(f"{line}\n".replace("'", '"'))
    for number, order in enumerate((("a", "b"), ("b", "a"))):
        target = folders / f"all{number}"
        assert run("merge", *(folders / name for name in order), f"into={target}") == 0
        assert [label.label for label in LabelFile(target).read().values()] == ["success"]


def test_what_is_no_whole_episode_is_left_out_and_told(folders, record, capsys):
    record(folders / "a/0008.mcap", finish=False)
    (folders / "a/0009.mcap").write_text("something else")
    assert run("merge", folders / "a", f"into={folders / 'all'}") == 0
    shown = capsys.readouterr().out
    assert len(list_episodes(folders / "all")) == 3
    assert shown.count("left out") == 2
    assert f"{folders / 'a/0009.mcap'}: is not an episode" in shown


def test_a_full_folder_is_never_written_into(folders, capsys):
    (folders / "all").mkdir()
    (folders / "all/mine.txt").write_text("keep")
    assert run("merge", folders / "a", f"into={folders / 'all'}") == 2
    assert [path.name for path in (folders / "all").iterdir()] == ["mine.txt"]
    assert "is there already" in capsys.readouterr().err


def test_an_empty_folder_is_filled(folders):
    (folders / "all").mkdir()
    assert run("merge", folders / "a", f"into={folders / 'all'}") == 0
    assert seeds_in(folders / "all") == [0, 1, 2]


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("at", range(7))
@pytest.mark.parametrize("action", ["merge", "split"])
def test_a_crash_leaves_whole_folders_and_remains_that_show_as_such(folders, monkeypatch, action, at):
    """Wherever it comes: `at` counts the file operations that are still done."""
    calls = iter(range(100))

    def failing(function):
        def call(*arguments, **named):
            if next(calls) >= at:
                raise Killed
            return function(*arguments, **named)

        return call

    for owner, name in ((os, "link"), (Path, "mkdir"), (Path, "rename"), (os, "fsync")):
        monkeypatch.setattr(owner, name, failing(getattr(owner, name)))
    monkeypatch.setattr(shutil, "rmtree", lambda *_a, **_k: None)  # A dead process tidies nothing up.
    into = {"merge": f"into={folders / 'all'}", "split": f"into={folders / 'all'},{folders / 'rest'}"}[action]
    with pytest.raises(Killed):
        run(action, folders / "a", into)
    monkeypatch.undo()
    for name in ("all", "rest"):
        if (folders / name).exists():
            assert len(seeds_in(folders / name)) >= 1
            assert (folders / name / "0000.mcap").exists()
    remains = {path.name for path in folders.iterdir()} - {"a", "b", "all", "rest"}
    assert all(name.startswith(".") and name.endswith(".partial") for name in remains)
    for path in folders.glob(".*.partial"):
        shutil.rmtree(path)
    for name in ("all", "rest"):
        shutil.rmtree(folders / name, ignore_errors=True)
    assert run(action, folders / "a", into) == 0


# Splitting.


def test_split_episodes_are_divided_and_keep_their_labels(folders, capsys):
    LabelFile(folders / "a").add("0001.mcap", [1], "failure", "ada")
    words = [f"into={folders / 'fit'},{folders / 'check'}", "ratio=0.5", "seed=3"]
    assert run("split", folders / "a", *words) == 0
    fit, check = seeds_in(folders / "fit"), seeds_in(folders / "check")
    assert sorted(fit + check) == [0, 1, 2]
    holder = next(folders / name for name in ("fit", "check") if 1 in seeds_in(folders / name))
    number = seeds_in(holder).index(1)
    assert list(LabelFile(holder).read()) == [(f"{number:04d}.mcap", 1)]
    assert "successes" in capsys.readouterr().out


@given(
    successes=st.integers(0, 30),
    failures=st.integers(0, 30),
    ratio=st.floats(0.01, 0.99),
    seed=st.integers(0, 1000),
)
def test_parts_have_the_same_share_of_successes(successes, failures, ratio, seed):
    if successes + failures < 2:
        return
    outcomes = [True] * successes + [False] * failures
    random.Random(seed).shuffle(outcomes)
    sources = [Source(Path(str(n)), (Path(str(n)),), success, 1) for n, success in enumerate(outcomes)]
    first, second = divide(sources, ratio, seed)
    assert first
    assert second
    assert sorted([*first, *second], key=lambda s: int(s.path.name)) == sources
    for part in (first, second):
        assert part == sorted(part, key=lambda s: int(s.path.name))
    for success, count in ((True, successes), (False, failures)):
        taken = sum(source.success is success for source in first)
        if count > 1:
            assert 1 <= taken < count
            assert abs(taken - ratio * count) <= 1.0
    assert divide(sources, ratio, seed) == (first, second)


def test_another_seed_divides_otherwise():
    sources = [Source(Path(str(n)), (Path(str(n)),), True, 1) for n in range(20)]
    assert divide(sources, 0.5, 0) != divide(sources, 0.5, 1)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["merge", "a"], "`into`"),
        (["merge", "absent", "into=all"], "nothing at absent"),
        (["merge", "empty", "into=all"], "no whole episode in empty"),
        (["merge", "a", "into=a"], "a is there already"),
        (["merge", "a", "into=a/0000.mcap/x"], "cannot be written"),
        (["split", "a", "into=x"], "two folders with a comma"),
        (["split", "a", "into=x,./x"], "two folders with a comma"),
        (["split", "a", "into=x,y,z"], "two folders with a comma"),
        (["split", "a", "into=x,b"], "b is there already"),
        (["split", "a", "into=x,y", "ratio=1"], "ratio 1.0 must lie between 0 and 1"),
        (["split", "a", "into=x,y", "seed=-1"], "seed -1 must not be negative"),
        (["split", "a/0000.mcap", "into=x,y"], "only episode"),
    ],
)
def test_wrong_input_is_one_sentence_and_makes_nothing(folders, monkeypatch, capsys, words, message):
    monkeypatch.chdir(folders)
    (folders / "empty").mkdir()
    before = sorted(folders.rglob("*"))
    assert run(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert sorted(folders.rglob("*")) == before


def test_labels_that_cannot_be_read_stop_it_before_anything_is_made(folders, monkeypatch, capsys):
    (folders / "a/labels.jsonl").write_text("{}\n")
    assert run("merge", folders / "a", f"into={folders / 'all'}") == 2
    assert "not a label" in capsys.readouterr().err
    assert not (folders / "all").exists()
    assert not list(folders.glob(".*"))
