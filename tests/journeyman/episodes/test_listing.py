"""`journeyman episodes list`."""

import json

import pytest

from journeyman.cli import main


@pytest.fixture
def folder(tmp_path, record):
    record(tmp_path / "0000.mcap", steps=5, cameras=("wrist", "front"), operator="Ada", intervened=(1, 2))
    record(tmp_path / "0001.mcap", steps=10, success=False, seed=1)
    record(tmp_path / "0002.mcap", steps=4, finish=False)
    spoilt = bytearray((tmp_path / "0001.mcap").read_bytes())
    # In the middle of packed data, of which every chunk begins with these four bytes.
    spoilt[spoilt.index(b"\x28\xb5\x2f\xfd", len(spoilt) // 3) + 12] ^= 1
    (tmp_path / "0003.mcap").write_bytes(spoilt)
    (tmp_path / "0004.mcap").write_text("something else")
    (tmp_path / "notes.txt").write_text("not listed")
    return tmp_path


def listed(folder, capsys):
    assert main(["episodes", "list", str(folder), "json=-"]) == 0
    return json.loads(capsys.readouterr().out)


def test_every_file_is_listed_whole_or_with_the_reason(folder, capsys):
    found = listed(folder, capsys)
    lines = {line["file"].rpartition("/")[2]: line for line in found["episodes"]}
    partial = next(name for name in lines if name.endswith(".partial"))
    assert set(lines) == {"0000.mcap", "0001.mcap", "0003.mcap", "0004.mcap", partial}
    first = lines["0000.mcap"]
    assert first["cameras"] == ["front", "wrist"]
    assert (first["steps"], first["seconds"], first["result"]) == (5, 0.5, "success")
    assert (first["operator"], first["human"], first["fault"]) == ("Ada", 0.4, "")
    assert lines["0001.mcap"]["result"] == "failure"
    assert lines[partial]["fault"].startswith("it breaks off; 4 whole steps")
    assert lines[partial]["result"] == "unknown"
    assert lines["0003.mcap"]["fault"].startswith("damaged (")
    assert "is not an episode" in lines["0004.mcap"]["fault"]
    assert "steps" not in lines["0004.mcap"]
    totals = {"episodes": 2, "successes": 1, "steps": 15, "seconds": 1.5, "not_whole": 2, "unreadable": 1}
    assert found["totals"] == totals | {"human": pytest.approx(2 / 15)}


def test_the_table_names_every_file(folder, capsys):
    assert main(["episodes", "list", str(folder)]) == 0
    shown = capsys.readouterr().out
    for path in [*folder.glob("*.mcap"), *folder.glob("*.partial")]:
        assert str(path) in shown
    assert "2 whole episodes, 1 of them successes: 15 steps, 1.5 s, 13% by a human" in shown
    assert "notes.txt" not in shown


def test_several_folders_and_files_keep_their_order(tmp_path, record, capsys):
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        record(tmp_path / name / "0000.mcap")
    words = [str(tmp_path / "b"), str(tmp_path / "a"), str(tmp_path / "b/0000.mcap"), "json=-"]
    assert main(["episodes", "list", *words]) == 0
    files = [line["file"] for line in json.loads(capsys.readouterr().out)["episodes"]]
    assert files == [str(tmp_path / name / "0000.mcap") for name in ("b", "a", "b")]


def test_a_whole_recording_that_never_got_its_name_is_told_of(tmp_path, record, capsys):
    record(tmp_path / "0000.mcap")
    (tmp_path / "0000.mcap").rename(tmp_path / "0000.mcap.12ab.partial")
    (line,) = listed(tmp_path, capsys)["episodes"]
    assert "rename it" in line["fault"]
    assert line["steps"] == 5


def test_an_empty_folder_has_no_episodes(tmp_path, capsys):
    assert listed(tmp_path, capsys)["totals"]["episodes"] == 0


def test_names_with_brackets_are_shown_as_they_are(tmp_path, record, capsys):
    (tmp_path / "[red]").mkdir()
    record(tmp_path / "[red]" / "0000.mcap", operator="[bold]Ada")
    assert main(["episodes", "list", str(tmp_path / "[red]")]) == 0
    shown = capsys.readouterr().out
    assert "[red]/0000.mcap" in shown
    assert "[bold]Ada" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["list"], "needs a folder"),
        (["list", "absent"], "nothing at absent"),
        (["list", ".", "colour=red"], "no key 'colour'; choose from json"),
        (["list", ".", "json=absent/list.json"], "absent/list.json cannot be written"),
        (["dance"], "no action 'dance'; choose from list, inspect, play, merge, split, stats"),
    ],
)
def test_wrong_input_is_one_sentence(tmp_path, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["episodes", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
