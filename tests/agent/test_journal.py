import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.journal import Journal, JournalReader, last_of_each_process


def test_reader_follows_the_writer(tmp_path):
    path = tmp_path / "run" / "journal.jsonl"
    reader = JournalReader(path)
    assert reader.new() == []
    journal = Journal(path)
    journal.write("episode", {"return": -3.5})
    assert [(e["kind"], e["return"]) for e in reader.new()] == [("episode", -3.5)]
    assert reader.new() == []
    journal.write("learner", {})
    assert [e["kind"] for e in reader.new()] == ["learner"]


@pytest.mark.parametrize("lasting", [False, True])
def test_a_disk_that_fails_at_any_call_costs_no_entry_and_holds_nobody_up(tmp_path, faulty_disk, lasting):
    for at in range(14):
        path = tmp_path / f"{at}.jsonl"
        journal = Journal(path)
        reader, read = JournalReader(path), []
        with faulty_disk.failing(at, lasting=lasting):
            for number in range(6):
                journal.write("episode", {"number": number})
                read += reader.new()
        journal.write("episode", {"number": 6})
        journal.close()
        assert [e["number"] for e in read + reader.new()] == list(range(7))
        assert [e["number"] for e in JournalReader(path).new()] == list(range(7))


def test_what_waits_for_a_full_disk_does_not_grow_for_ever_but_reports_stay(
    tmp_path, faulty_disk, monkeypatch
):
    monkeypatch.setattr("agent.journal._MOST_WAITING", 5)
    journal = Journal(tmp_path / "journal.jsonl")
    with faulty_disk.failing(0, lasting=True):
        for number in range(10):
            journal.write("learner", {"number": number})
            journal.write("episode", {"number": number})
    journal.close()
    entries = JournalReader(tmp_path / "journal.jsonl").new()
    assert [e["number"] for e in entries if e["kind"] == "episode"] == list(range(10))
    assert [e["number"] for e in entries if e["kind"] == "learner"] == [0, 1, 2]


def test_an_actors_report_cannot_pass_for_the_learners(tmp_path):
    journal = Journal(tmp_path / "journal.jsonl")
    for report in ({"kind": "episode", "time": 0.0}, {"kind": "learner"}, {}):
        journal.write_report(report)
    entries = JournalReader(tmp_path / "journal.jsonl").new()
    assert [e["kind"] for e in entries] == ["episode", "report", "report"]
    assert entries[0]["time"] > 0


def test_counters_are_kept_over_restarts_of_an_actor():
    ticks = [("a", 10), ("b", 5), ("a", 20), ("b", 9), ("a", 4), ("a", 8), ("b", 12)]
    entries = [{"actor": actor, "ticks": count} for actor, count in ticks]
    found = {(e["actor"], e["ticks"]) for e in last_of_each_process(entries)}
    assert found == {("a", 20), ("a", 8), ("b", 12)}
    assert last_of_each_process([]) == []


@given(cut=st.integers(0, 200))
def test_a_torn_last_line_is_neither_read_nor_kept(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("journal") / "journal.jsonl"
    journal = Journal(path)
    for number in range(3):
        journal.write("episode", {"number": number})
    journal.close()
    content = path.read_bytes()
    kept = content[: max(0, len(content) - cut)]
    path.write_bytes(kept)
    whole = kept.count(b"\n")
    assert [e["number"] for e in JournalReader(path).new()] == list(range(whole))
    journal = Journal(path)
    journal.write("episode", {"number": 9})
    journal.close()
    assert [e["number"] for e in JournalReader(path).new()] == [*range(whole), 9]
