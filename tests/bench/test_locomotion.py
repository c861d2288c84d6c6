"""The parts of bench/locomotion.py: scores, levels, data there and back, and the whole of it on a task of seconds."""

import argparse
import json

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import journeyman.data
from agent.sac import SAC
from agent.transition import Provenance
from bench import locomotion, locomotion_data
from bench.locomotion_data import Recipe, Reference
from journeyman.offline.reading import read_offline
from journeyman.statistics import Estimate

RECIPE = Recipe(env_id="Pendulum-v1", steps=60, random_steps=40, snapshot_every=20, gathered=250, episodes=1)


@pytest.fixture
def spec():
    return locomotion_data.spec_of(RECIPE)


def some_records(spec, steps, seed=0):
    """Of episodes of 7 steps, every other one terminated, the last one under way."""
    rng = np.random.default_rng(seed)
    records = np.zeros(steps, spec.dtype)
    for name in ("observation.state", "next_observation.state", "action"):
        records[name] = rng.uniform(-1, 1, records[name].shape)
    records["reward"] = rng.normal(size=steps)
    records["provenance"] = Provenance.TWIN
    records["episode"], records["step"] = np.divmod(np.arange(steps), 7)
    over = records["step"] == 6
    records["terminated"] = over & (records["episode"] % 2 == 0)
    records["truncated"] = over & ~records["terminated"]
    return records


@given(st.floats(-1e4, 1e4), st.floats(1.0, 1e4), st.floats(-1.0, 2.0))
def test_a_score_is_0_for_random_actions_100_for_the_expert_and_even_between(random, range_, share):
    reference = Reference(random, random + range_)
    scores = reference.scores([random, random + range_, random + share * range_])
    np.testing.assert_allclose(scores, [0.0, 100.0, 100.0 * share], atol=1e-5)


def test_medium_is_the_snapshot_before_the_best_that_is_nearest_to_its_share():
    returns = {10: -50.0, 20: 250.0, 30: 500.0, 40: 1000.0, 50: 310.0}  # Of which the last fell back.
    assert locomotion_data.choose(returns, random=0.0, share=1 / 3) == (20, 40)
    assert locomotion_data.choose(returns, random=0.0, share=1 / 2) == (30, 40)
    for nothing in ({10: -50.0}, {10: 5.0, 20: -1.0}, {10: 5.0}):
        with pytest.raises(ValueError, match="give it more steps"):
            locomotion_data.choose(nothing, random=0.0, share=1 / 3)


def test_returns_are_of_whole_episodes_and_standardised_ones_are_1000_apart(spec):
    records = some_records(spec, 33)
    returns = locomotion_data.episode_returns(records)
    by_hand = [records["reward"][start : start + 7].sum() for start in range(0, 33, 7)]
    np.testing.assert_allclose(returns, by_hand, rtol=1e-5)
    scaled = locomotion.standardised(records)
    assert np.ptp(locomotion_data.episode_returns(scaled)) == pytest.approx(1000.0, rel=1e-4)
    ratio = scaled["reward"] / records["reward"]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-5)
    np.testing.assert_array_equal(scaled["action"], records["action"])
    assert (
        locomotion.standardised(records[:5])["reward"] == records["reward"][:5]
    ).all()  # One episode says nothing.


def test_what_is_written_in_d4rls_layout_is_read_back_and_time_outs_stay_apart_from_terminals(spec, tmp_path):
    records = locomotion_data.cut(some_records(spec, 33))
    locomotion_data.write_d4rl(tmp_path / "data" / "some.hdf5", records)
    back = read_offline(tmp_path / "data" / "some.hdf5", spec)
    assert (back["provenance"] == Provenance.DEMONSTRATION).all()
    same = [name for name in spec.dtype.names if name != "provenance"]
    for name in same:
        np.testing.assert_array_equal(back[name], records[name], err_msg=name)
    assert back["terminated"].nonzero()[0].tolist() == [6, 20]
    assert back["truncated"].nonzero()[0].tolist() == [13, 27, 32]  # The last is cut by the end of the data.
    options = argparse.Namespace(
        words=[str(tmp_path / "data" / "some.hdf5"), f"out={tmp_path / 'report.json'}"]
    )
    assert journeyman.data.run(options) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["transitions"], report["episodes"], report["dropped"]) == (33, 5, 0)


def write_teacher(folder, spec, levels):
    """Snapshots of networks that learned nothing, which say that they reached these levels."""
    for number, (step, level) in enumerate(levels.items()):
        state = SAC(locomotion_data.TEACHER, spec, torch.device("cpu"), seed=number).state_dict()
        locomotion_data.write_snapshot(folder, step, some_records(spec, 20, number), [level] * 2, state)


def test_data_sets_are_made_of_the_policies_at_their_levels_and_of_what_led_to_them(spec, tmp_path):
    write_teacher(tmp_path, spec, {20: -1500.0, 40: -600.0, 60: 0.0, 80: -1.0})
    locomotion_data.make_data(tmp_path, RECIPE)
    sets = {path.stem: read_offline(path, spec) for path in (tmp_path / "data").glob("*.hdf5")}
    assert sorted(sets) == ["expert", "medium", "medium-expert", "medium-replay", "random"]
    reference = json.loads((tmp_path / "data" / "reference.json").read_text())
    assert (reference["medium_step"], reference["expert_step"]) == (40, 60)
    # What was done up to the medium snapshot, and nothing of what came later.
    replayed = np.concatenate([some_records(spec, 20, number) for number in range(2)])
    np.testing.assert_array_equal(sets["medium-replay"]["action"], replayed["action"])
    halves = np.concatenate([sets["medium"]["action"], sets["expert"]["action"]])
    np.testing.assert_array_equal(sets["medium-expert"]["action"], halves)
    # Neither half goes on into the other.
    assert sets["medium-expert"]["truncated"].nonzero()[0].tolist() == [199, 249, 449, 499]
    assert (np.abs(sets["random"]["action"]) > 0.9).mean() == pytest.approx(0.1, abs=0.06)


def test_it_goes_on_where_it_was_stopped_and_makes_nothing_twice(tmp_path):
    locomotion_data.teach(tmp_path, msgspec.structs.replace(RECIPE, steps=40))
    kept = {path: path.read_bytes() for path in (tmp_path / "teacher").iterdir()}
    locomotion_data.teach(tmp_path, RECIPE)
    assert list(locomotion_data.snapshots(tmp_path)) == [20, 40, 60]
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert len(locomotion_data.taught(tmp_path, 60)) == 60
    before, after = (locomotion_data.load_state(tmp_path, step) for step in (40, 60))
    assert int(after["calls"]) == int(before["calls"]) + 10


def write_result(folder, data, name, seed, returns):
    path = folder / "results" / data / f"{name}-9-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"returns": returns, "cpu_s": 1.0}))


def test_the_table_says_what_was_published_and_whether_it_holds(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "reference.json").write_text(json.dumps({"random": -100.0, "expert": 100.0}))
    for seed in range(3):
        write_result(tmp_path, "medium", "bc", seed, [-10.0 + seed, 10.0 + seed])
        write_result(tmp_path, "medium", "td3_bc", seed, [50.0 + seed] * 2)
        write_result(tmp_path, "medium", "iql", seed, [-50.0 - seed] * 2)
        write_result(tmp_path, "medium", "cql", seed, [20.0 * seed - 20.0] * 2)
    lines = locomotion.describe_results(tmp_path, 9).splitlines()[2:]
    assert [line.split()[:2] for line in lines] == [["medium", name] for name in locomotion.METHODS]
    assert "50.5 [50.0, 51.0]" in lines[0]  # Half way, and 1 is half a hundredth of 200.
    assert [" 42.6" in lines[0], " 48.3" in lines[1], " 47.4" in lines[2], " 44.0" in lines[3]] == [True] * 4
    assert [word for line in lines for word in ("holds:", "opposite:", "open:") if word in line] == [
        "holds:",
        "opposite:",
        "open:",
    ]
    assert (
        len(locomotion.describe_results(tmp_path, 10).splitlines()) == 2
    )  # Of other updates there is nothing.


def test_a_probability_without_an_interval_is_judged_by_itself_and_one_of_too_few_seeds_is_not():
    def of(estimate, seeds=3):
        return locomotion.verdict(estimate, seeds)

    assert [of(Estimate(value)) for value in (1.0, 0.5, 0.0)] == ["holds", "open", "opposite"]
    assert [of(Estimate(0.9, 0.5, 1.0)), of(Estimate(0.1, 0.0, 0.4))] == ["open", "opposite"]
    assert [of(Estimate(value), seeds=2) for value in (1.0, 0.0)] == ["open", "open"]


def test_every_method_learns_from_the_data_and_no_result_is_made_twice(spec, tmp_path):
    locomotion_data.write_d4rl(tmp_path / "data" / "medium.hdf5", locomotion_data.cut(some_records(spec, 40)))
    for name in locomotion.METHODS:
        arguments = (tmp_path, RECIPE, "medium", name, 0, 52)
        result = locomotion.learn(*arguments)
        assert np.isfinite(result["returns"]).all()
        assert len(result["returns"]) == RECIPE.episodes
        assert locomotion.learn(*arguments) == result  # With the same CPU time, which no second run has.
