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
