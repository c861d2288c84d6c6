from hypothesis import given
from hypothesis import strategies as st

from journeyman.reward_watch import describe, watch


def entries(pairs):
    return [
        {"environment_steps": 10 * number, "success": said, "true_success": true}
        for number, (said, true) in enumerate(pairs, start=1)
    ]


@given(pairs=st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_every_episode_is_counted_once(pairs):
    watched = watch(entries(pairs))
    assert watched["false_successes"] == sum(said and not true for said, true in pairs)
    assert watched["missed_successes"] == sum(true and not said for said, true in pairs)
    over = watched["over_training"]
    assert len(over) <= 5
    for name in ("episodes", "successes", "true_successes", "false_successes", "missed_successes"):
        assert sum(part[name] for part in over) == watched[name]
    assert over[-1]["environment_steps"] == 10 * len(pairs)


def test_it_is_said_in_one_line():
    line = describe(watch(entries([(True, False), (True, True), (False, True), (True, True)])))
    assert "1 of 3 successes were false" in line
    assert "1 of 3 true ones were missed" in line
    assert "\n" not in line


def test_where_nobody_knows_the_truth_there_is_nothing_to_watch():
    assert watch([]) is None
    assert watch([{"environment_steps": 1, "success": True}]) is None
