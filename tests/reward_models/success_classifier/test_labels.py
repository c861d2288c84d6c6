import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from reward_models.success_classifier.labels import VERDICTS, LabelFile, add_truth

SAID = st.lists(
    st.tuples(st.sampled_from(["a.mcap", "b.mcap"]), st.integers(0, 5), st.sampled_from(VERDICTS)),
    max_size=20,
)


@given(said=SAID)
def test_the_last_word_on_a_frame_counts(tmp_path_factory, said):
    labels = LabelFile(tmp_path_factory.mktemp("labels"))
    for episode, step, verdict in said:
        labels.add(episode, [step], verdict, "ada")
    expected = {(episode, step): verdict for episode, step, verdict in said}
    assert {frame: label.label for frame, label in labels.read().items()} == expected
    if said:
        assert len(labels.path.read_text().splitlines()) == len(said), "nothing is ever removed"


def test_a_line_without_an_end_is_no_line_and_swallows_none(tmp_path):
    labels = LabelFile(tmp_path)
    labels.add("a.mcap", [1, 2], "success", "ada")
    with labels.path.open("ab") as file:
        file.write(b'{"episode": "a.mc')
    assert len(labels.read()) == 2
    labels.add("a.mcap", [3], "failure", "ada")
    assert sorted(step for _, step in labels.read()) == [1, 2, 3]


@pytest.mark.parametrize(
    "line", ["nonsense", '{"episode": "a"}', '{"episode":"a","step":1,"label":"yes","who":"","when":""}']
)
def test_a_line_that_is_no_label_is_named(tmp_path, line):
    labels = LabelFile(tmp_path)
    labels.add("a.mcap", [1], "success", "ada")
    with labels.path.open("a") as file:
        file.write(line + "\n")
    with pytest.raises(InputError, match=r"Line 2 of .*labels\.jsonl"):
        labels.read()


def test_the_truth_labels_every_frame_that_has_a_reward(make_folder):
    labels = LabelFile(make_folder(episodes=2, labelled=False))
    assert add_truth(labels) == 16
    said = labels.read()
    assert [said["0001.mcap", step].label for step in range(1, 9)] == ["failure"] * 5 + ["success"] * 3
    assert ("0001.mcap", 0) not in said
    assert {label.label for (name, _), label in said.items() if name == "0000.mcap"} == {"failure"}


def test_the_truth_does_not_overrule_a_person(make_folder):
    labels = LabelFile(make_folder(episodes=2))
    labels.add("0001.mcap", [7, 8], "skip", "ada")
    add_truth(labels)
    assert [labels.read()["0001.mcap", step].label for step in (6, 7, 8)] == ["success", "skip", "skip"]


@pytest.mark.parametrize(
    "reward",
    [{"kind": "dense", "success": 0.0, "step": -1.0}, {"kind": "sparse", "success": 0.0, "step": 0.0}, {}],
)
def test_a_reward_that_does_not_say_what_success_is(tmp_path, record, reward):
    record(tmp_path / "0.mcap", 0, task={"name": "squares", "reward": reward})
    with pytest.raises(InputError, match="success cannot be told"):
        add_truth(LabelFile(tmp_path))


def test_where_there_is_nothing_to_label(tmp_path):
    with pytest.raises(InputError, match="no episodes"):
        add_truth(LabelFile(tmp_path))
    with pytest.raises(InputError, match="not a folder"):
        LabelFile(tmp_path / "absent")
