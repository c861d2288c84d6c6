"""bench/external.py without the packages that it is for: a suite of its own, a point on a line."""

import argparse
import sys

import gymnasium
import msgspec
import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.config import InputError
from bench import external, external_runs
from bench.external_plans import make_plan
from bench.external_runs import Evaluated, Run, is_enough, run_in
from bench.external_suites import SUITES, Suite, demonstrate, load_suite, make_env, make_spec, read_data
from bench.in_process import Point, evaluate
from controllers.loading import load_attribute

GOAL, EDGE, LIMIT = 0.7, -0.3, 30


class Line(gymnasium.Env):
    """From about 0 to GOAL in steps of at most 0.1; beyond EDGE, on the other side, the point is lost."""

    def __init__(self, named: bool) -> None:
        box = gymnasium.spaces.Box(-9, 9, (1,), np.float64)
        self.named = named
        self.action_space = gymnasium.spaces.Box(-0.1, 0.1, (1,), np.float32)
        self.observation_space = gymnasium.spaces.Dict({"at": box, "goal": box}) if named else box

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.at = self.np_random.uniform(-0.1, 0.1)
        return self._observation(), {}

    def step(self, action):
        self.at += float(action[0])
        there = {"arrived": bool(abs(self.at - GOAL) < 0.06)}
        return self._observation(), -0.5, self.at < EDGE, False, there

    def _observation(self):
        at = np.array([self.at])
        return {"at": at, "goal": np.array([GOAL])} if self.named else at


def make_line(task, named=False):
    """The factory of the suite."""
    assert task == "line"
    return Line(named)


def make_walker(task):
    """Its expert: at full speed, and slower when it is almost there."""
    return lambda observation: np.clip(10 * (GOAL - observation[:1]), -1, 1)


def make_lazy_walker(task):
    """Does nothing."""
    return lambda observation: np.zeros(1)


ENTRY = {
    "factory": f"{__name__}.make_line",
    "tasks": ["line"],
    "success": "arrived",
    "time_limit": LIMIT,
    "expert": f"{__name__}.make_walker",
    "demonstrations": 3,
    "discount": 0.9,
    "algorithm": {"utd_ratio": 2},
}


@pytest.fixture
def make_suite(tmp_path):
    """The suite of this file with other values."""

    def make(**values):
        path = tmp_path / "suites.yaml"
        path.write_text(yaml.safe_dump({"line": {**ENTRY, **values}}))
        return load_suite("line", path)

    return make


def make_options(**values):
    """A command line."""
    usual = {
        "steps": 400, "evaluate_every": 100, "episodes": 5, "final_episodes": 10, "stop_at": 0.95, "data": None,
        "overrides": ["algorithm.config.hidden_sizes=[32, 32]", "algorithm.config.batch_size=32"],
    }  # fmt: skip
    return argparse.Namespace(**{**usual, **values})


def play(env, actions):
    """All that an episode gives for these actions, up to its end."""
    env.reset(seed=0)
    steps = []
    for action in actions:
        steps.append(env.step(np.array([action], np.float32)))
        if steps[-1][2] or steps[-1][3]:
            break
    return steps


@given(st.lists(st.floats(-1, 1), min_size=LIMIT, max_size=LIMIT))
def test_a_step_costs_one_until_success_ends_the_episode(actions):
    suite = msgspec.convert(ENTRY, Suite)
    steps = play(make_env(suite, "line"), actions)
    *before, last = steps
    assert all(reward == -1 and not over and not cut for _, reward, over, cut, _ in before)
    _, reward, terminated, truncated, info = last
    lost = terminated and not info["success"]
    assert reward == (0 if info["success"] else pytest.approx(-10) if lost else -1)
    assert terminated == (info["success"] or lost)
    assert truncated == (len(steps) == LIMIT)


@pytest.mark.parametrize(
    ("actions", "reward", "terminated", "truncated"),
    [([1] * LIMIT, 0, True, False), ([-1] * LIMIT, -10, True, False), ([0] * LIMIT, -1, False, True)],
)
def test_success_loss_and_time_out_are_three_things(make_suite, actions, reward, terminated, truncated):
    last = play(make_env(make_suite(), "line"), actions)[-1]
    assert last[1:4] == (pytest.approx(reward), terminated, truncated)


def test_the_own_reward_of_an_environment_stays_and_success_does_not_end_it(make_suite):
    steps = play(make_env(make_suite(reward="own"), "line"), [0.7] * 10 + [0] * LIMIT)
    assert {reward for _, reward, *_ in steps} == {-0.5}
    assert [over for _, _, over, *_ in steps] == [False] * LIMIT
    assert any(info["success"] for *_, info in steps)


def values_of(discount, penalty):
    """Value iteration on a grid of the line, -1 a step: what going right and going left is worth at the start."""
    width = 0.1
    places = np.arange(-3, 8)  # -3: one step from being lost; 7: the goal.
    value = np.zeros(len(places))
    for _ in range(200):
        left = np.concatenate([[penalty], -1 + discount * value[:-1]])
        right = np.concatenate([-1 + discount * value[1:], [0.0]])
        right[-2] = 0.0  # The step that arrives.
        value = np.maximum(left, right)
        value[-1] = 0.0
    start = round((0.0 - places[0] * width) / width)
    return right[start], left[start]


def test_losing_must_not_be_a_way_out(make_suite):
    """What makes a policy that cannot succeed yet throw the object away is that losing it costs no more than a step."""
    suite = make_suite()
    paid = play(make_env(suite, "line"), [-1] * LIMIT)[-1][1]
    right, left = values_of(0.9, paid)
    assert right > left
    # Where the goal is out of reach, everything else costs -1 / (1 - gamma): losing is no better than that.
    assert paid == pytest.approx(-1 / (1 - suite.discount))
    right, left = values_of(0.9, -1.0)
    assert left > right


def test_the_key_of_success_must_be_there(make_suite):
    with pytest.raises(InputError, match=r"no 'solved'.*arrived"):
        play(make_env(make_suite(success="solved"), "line"), [0])


def test_actions_are_scaled_and_observations_by_name_become_one_vector_or_stay(make_suite):
    flat = make_env(make_suite(config={"named": True}), "line")
    assert flat.action_space == gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    before, _ = flat.reset(seed=3)
    after, *_ = flat.step(np.ones(1, np.float32))
    assert after == pytest.approx([before[0] + 0.1, GOAL])
    kept = make_env(make_suite(config={"named": True}, flatten=False), "line")
    assert make_spec(kept).observation_keys == ("at", "goal")


def test_demonstrations_are_successes_of_other_starts_under_noise(make_suite):
    suite = make_suite()
    shown, again, other = (demonstrate(suite, "line", seed) for seed in (1, 1, 2))
    assert np.array_equal(shown.records, again.records)
    assert not np.array_equal(shown.records["action"][:5], other.records["action"][:5])
    ends = shown.records["terminated"]
    assert ends.sum() == shown.successes == 3
    assert (shown.records["reward"] == np.where(ends, 0, -1)).all()
    expert = make_walker("line")
    wanted = np.array([expert(at) for at in shown.records["observation.state"]])
    assert 0.02 < np.abs(shown.records["action"] - wanted).mean() < 0.3
    assert demonstrate(make_suite(demonstrations=0), "line", 1) is None
    assert demonstrate(make_suite(expert=None), "line", 1) is None


def test_failures_of_the_expert_are_counted_and_left_out(make_suite):
    shown = demonstrate(make_suite(noise=2.5, demonstrations=5, time_limit=12), "line", 0)
    assert shown.episodes > shown.successes == 5
    assert shown.records["terminated"].sum() == (shown.records["reward"] == 0).sum() == 5
    with pytest.raises(InputError, match=r"succeeds in 0 of 9 episodes with noise 0\.2"):
        demonstrate(make_suite(expert=f"{__name__}.make_lazy_walker"), "line", 0)


@pytest.mark.parametrize(("paid", "known"), [("success", 2), ("own", None)])
def test_a_recorded_data_set_must_be_paid_as_the_suite_pays(make_suite, tmp_path, paid, known):
    h5py = pytest.importorskip("h5py")
    path = tmp_path / "data.hdf5"
    ends = np.array([0, 0, 1, 0, 0, 1, 0, 0, 0], bool)  # The last episode is cut.
    with h5py.File(path, "w") as file:
        file["observations"] = np.linspace(0, 1, 9, dtype=np.float32)[:, None]
        file["next_observations"] = np.linspace(0.1, 1.1, 9, dtype=np.float32)[:, None]
        file["actions"] = np.full((9, 1), 0.5, np.float32)
        file["rewards"] = np.where(ends, 0, -1).astype(np.float32)
        file["terminals"], file["timeouts"] = ends, np.arange(9) == 8
    shown = read_data(make_suite(reward=paid), "line", path)
    assert (len(shown.records), shown.episodes, shown.successes) == (9, 3, known)
    with h5py.File(path, "a") as file:
        file["rewards"][4] = 10.0
    if paid == "success":
        with pytest.raises(InputError, match="pays 10 for a step"):
            read_data(make_suite(), "line", path)


def test_a_plan_is_the_algorithms_file_then_the_suite_then_the_command_line(make_suite):
    suite = make_suite()
    plan = make_plan(suite, "line", "rlpd", 4, make_options())
    config = plan.algorithm.config
    assert (config["discount"], config["utd_ratio"], config["batch_size"]) == (0.9, 2, 32)
    assert (plan.steps, plan.data_ratio, plan.seed) == (400, 0.5, 4)
    own = make_plan(suite, "line", "rlpd", 4, make_options(overrides=["algorithm.config.utd_ratio=7"]))
    assert own.algorithm.config["utd_ratio"] == 7
    cloning = make_plan(suite, "line", "bc", 0, make_options(overrides=[]))
    assert "discount" not in cloning.algorithm.config  # Which it does not know.
    assert cloning.steps == 0


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("rlpd", {"overrides": ["algorithm.config.tempo=3"]}, "tempo"),
        ("rlpd", {"overrides": ["lerner.start_steps=3"]}, "lerner"),
        ("rlqd", {}, "rlpd"),
        ("wsrl", {}, "begins by itself"),
        ("rlpd", {"episodes": 0}, "at least 1"),
    ],
)
def test_a_plan_that_cannot_be_meant_is_refused(make_suite, name, values, message):
    with pytest.raises(InputError, match=message):
        make_plan(make_suite(), "line", name, 0, make_options(**values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tasks": []}, "must not be empty"),
        ({"discount": 1.0}, "between 0 and 1"),
        ({"time_limit": 0}, "time_limit 0"),
        ({"succes": "x"}, "succes"),
        ({"reward": "dense"}, "dense"),
    ],
)
def test_a_suite_that_cannot_be_meant_is_refused(make_suite, values, message):
    with pytest.raises(InputError, match=message):
        make_suite(**values)


def test_the_suites_that_come_along_name_what_is_there_and_say_what_is_missing(monkeypatch):
    for name in yaml.safe_load(SUITES.read_text()):
        suite = load_suite(name)
        for path in filter(None, (suite.factory, suite.expert)):
            assert callable(load_attribute(path, name))
    with pytest.raises(InputError, match="metaworld, adroit, fetch, gym_hil"):
        load_suite("dm_control")
    for package in ("metaworld", "gymnasium_robotics", "gym_hil"):
        monkeypatch.setitem(sys.modules, package, None)
    for name in ("metaworld", "adroit", "gym_hil"):
        suite = load_suite(name)
        with pytest.raises(InputError, match="make external"):
            make_env(suite, suite.tasks[0])


def test_two_good_evaluations_in_a_row_are_enough():
    def points(*successes):
        return [Point(100 * i, [0.0], [True] * n + [False] * (20 - n)) for i, n in enumerate(successes)]

    assert not is_enough(points(20, 20), 0.95)  # The first is before the first step.
    assert not is_enough(points(0, 20, 18, 20), 0.95)
    assert is_enough(points(0, 18, 19, 20), 0.95)
    assert not is_enough(points(20, 20, 20, 20), 2)


def test_evaluations_with_other_seeds_start_elsewhere(make_suite):
    class Notes:
        def __init__(self):
            self.seen = []

        def act(self, observation, deterministic):
            self.seen.append(float(observation["state"][0]))
            return np.ones(1, np.float32)

    env = make_env(make_suite(), "line")
    seen = []
    for seed in (1, 1, 500):
        notes = Notes()
        evaluate(env, make_spec(env), notes, 3, first_seed=seed)
        seen.append(notes.seen)
    assert seen[0] == seen[1] != seen[2]


def make_run_of(plan, successes=10, curve=(0, 5), **values):
    """A run that was not made."""
    points = tuple(
        Evaluated(step=100 * i, mean_return=0.0, successes=n, cpu_s=1.0) for i, n in enumerate(curve, 1)
    )
    usual = {
        "suite": "line", "shown_steps": 30, "shown_episodes": 4, "shown_successes": 3, "curve": points,
        "final_successes": successes, "steps": plan.steps, "cpu_s": 90.0, "versions": {},
    }  # fmt: skip
    return Run(plan=plan, **{**usual, **values})


def test_a_run_that_is_there_is_not_made_again_and_another_one_not_taken_for_it(
    make_suite, tmp_path, monkeypatch
):
    plan = make_plan(make_suite(), "line", "rlpd", 0, make_options())
    made = make_run_of(plan)
    monkeypatch.setattr(external_runs, "make_run", lambda suite, plan: made)
    assert run_in(tmp_path / "new", "line", plan) == made
    monkeypatch.setattr(external_runs, "make_run", lambda suite, plan: pytest.fail("made again"))
    assert run_in(tmp_path / "new", "line", plan) == made
    # Which tasks a suite has does not matter to one of them.
    more = make_plan(make_suite(tasks=["line", "circle"]), "line", "rlpd", 0, make_options())
    assert run_in(tmp_path / "new", "line", more) == made
    other = make_plan(make_suite(noise=0.1), "line", "rlpd", 0, make_options(steps=200))
    with pytest.raises(InputError, match="another suite, steps"):
        run_in(tmp_path / "new", "line", other)
    next((tmp_path / "new").glob("*.json")).write_text("{")
    with pytest.raises(InputError, match="damaged"):
        run_in(tmp_path / "new", "line", plan)


def test_the_table_pools_the_final_episodes_and_says_what_never_came(make_suite):
    plans = [make_plan(make_suite(), "line", "rlpd", seed, make_options()) for seed in range(3)]
    quick = make_run_of(plans[0], 10, (0, 5, 5), steps=300)
    dipped = make_run_of(plans[1], 8, (4, 1, 5))
    dipped = msgspec.structs.replace(
        dipped, curve=tuple(msgspec.structs.replace(p, step=p.step - 100) for p in dipped.curve)
    )
    never = make_run_of(plans[2], 0, (0, 4), shown_successes=None)
    assert (quick.dip, dipped.dip, never.dip) == (None, pytest.approx(0.6), None)
    text = external.table([quick, dipped, never])
    assert "200 200 never" in text
    assert "60% (42% to 75%)" in text  # Wilson: 18 of 30.
    assert "60% (max 60%)" in text
    assert "300* 400 400" in text
    assert "ended early" in text
    assert "3 successes in 4 episodes" in external.describe(quick)
    assert "of unknown success" in external.describe(never)


def run_command(monkeypatch, capsys, *arguments):
    """What the command prints."""
    monkeypatch.setattr(sys, "argv", ["external", *map(str, arguments)])
    assert external.main() == 0
    return capsys.readouterr().out


@pytest.mark.slow
def test_it_learns_to_succeed_because_that_is_what_is_paid_for(make_suite, tmp_path, monkeypatch, capsys):
    """The line's own reward, -0.5 a step, is all the same to it and makes the point jump off the edge."""
    final = {}
    for reward in ("success", "own"):
        make_suite(
            reward=reward,
            demonstrations=10,
            algorithm={"utd_ratio": 1, "batch_size": 32, "hidden_sizes": [32, 32]},
        )
        out, folder = tmp_path / f"{reward}.json", tmp_path / reward
        text = run_command(
            monkeypatch, capsys,
            "--suite", "line", "--suites", tmp_path / "suites.yaml", "--demonstrations", 5, "--seeds", 0, 1, 2,
            "--steps", 400, "--evaluate-every", 100, "--episodes", 5, "--final-episodes", 10, "--folder", folder,
            "--json", out, "--", "learner.start_steps=100", "actor.random_steps=100",
        )  # fmt: skip
        print(text)
        runs = msgspec.json.decode(out.read_bytes(), type=list[Run])
        assert [run.shown_successes for run in runs] == [5] * 3
        assert runs == [msgspec.json.decode(path.read_bytes(), type=Run) for path in sorted(folder.iterdir())]
        final[reward] = [run.final_successes for run in runs]
    assert min(final["success"]) >= 9
    assert sum(final["own"]) < 0.5 * sum(final["success"])
