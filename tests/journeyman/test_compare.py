"""`journeyman compare`, on folders that look as `journeyman train` leaves them."""

import csv
import functools
import json
import re
import shlex
import sys

import msgspec
import pytest

from agent.config import InputError
from agent.evaluation import wilson_interval
from agent.journal import Journal
from journeyman import statistics
from journeyman.adastop import AdaStopConfig
from journeyman.cli import main
from journeyman.compared_runs import find_runs, group, read_runs
from journeyman.comparison import compare
from journeyman.comparison_plots import _looks
from journeyman.comparison_tables import markdown, sections
from journeyman.config import _GROUPS, compose, read_config, write_config
from journeyman.initialisation import as_given, begun_from
from journeyman.run_command import _GROUPS as COMMAND_GROUPS
from journeyman.run_command import train_command
from journeyman.run_directory import RunDirectory, versions

CURVE = (
    (1029, 10),
    (2007, 14),
    (3012, 19),
    (6000, 48),
)  # Steps and successes; the last of 50 episodes, else of 20.


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 500)
    monkeypatch.setattr(statistics, "CURVE_RESAMPLES", 200)


def evaluation(steps, successes, episodes=20):
    low, high = wilson_interval(successes, episodes)
    return {
        "episodes": episodes,
        "successes": successes,
        "success_rate": successes / episodes,
        "success_low": low,
        "success_high": high,
        "mean_return": -20.0,
        "mean_length": 21.0,
        "policy_version": steps,
        "environment_steps": steps,
    }


@functools.cache
def composed(*overrides):
    """As `compose`, which takes its time."""
    return compose(overrides)


def make_run(root, *overrides, curve=CURVE, offline=0, cpu_s=300.0, report=True, agents=("",)):
    """A folder as of a run that is over. `curve` has one entry for each evaluation, the last for the report's."""
    config = composed(*overrides)
    run = RunDirectory.create(config, root)
    journal = Journal(run.journal)
    for steps, successes in curve[:-1]:
        for name in agents:
            whose = {"agent": name} if name else {}
            journal.write("evaluation", {**evaluation(steps, successes), **whose})
    journal.write("session", {"wall_s": 400.0, "cpu_s": cpu_s})
    journal.close()
    steps, successes = curve[-1]
    summary = {
        "task": config.task.name,
        "algorithm": config.algorithm.name,
        "seed": config.seed,
        "success_rate": successes / 50,
        "evaluation_episodes": 50,
        "environment_steps": steps,
        "cpu_s": cpu_s,
        "offline_updates": offline,
    }
    if report:
        run.report.mkdir()
        (run.report / "summary.json").write_text(json.dumps(summary))
    return run.path


def make_seeds(root, *overrides, finals=(48, 49, 47), **options):
    return [
        make_run(root, *overrides, f"seed={seed}", curve=(*CURVE[:-1], (6000, final)), **options)
        for seed, final in enumerate(finals)
    ]


def compared(root, **plan):
    runs, left_out = read_runs(find_runs([str(root)]))
    return compare(group(runs), AdaStopConfig(**plan), left_out)


def names(root):
    return [(one.task, one.label, one.seeds) for one in group(read_runs(find_runs([str(root)]))[0])]


def told(root):
    """The whole table as text."""
    return markdown(sections(compared(root)))


# Finding and grouping


def test_seeds_are_pooled_and_algorithms_are_not(tmp_path):
    make_seeds(tmp_path, "task=reach")
    make_seeds(tmp_path, "task=reach", "algorithm=sac")
    make_seeds(tmp_path)
    assert names(tmp_path) == [
        ("lift_cube", "rlpd", [0, 1, 2]),
        ("reach", "rlpd", [0, 1, 2]),
        ("reach", "sac", [0, 1, 2]),
    ]


def test_runs_of_different_configuration_are_never_seeds_of_one(tmp_path):
    make_seeds(tmp_path, finals=(40, 41))
    make_seeds(tmp_path, "algorithm.config.critics=10", finals=(40, 41))
    make_run(tmp_path, "algorithm.config.critics=10", "learner.start_steps=500", "seed=0")
    assert [label for _, label, _ in names(tmp_path)] == [
        "rlpd critics=10 start_steps=300",
        "rlpd critics=10 start_steps=500",
        "rlpd critics=2 start_steps=300",
    ]


def test_a_default_that_is_written_out_is_no_difference(tmp_path):
    make_run(tmp_path, "seed=0")
    make_run(tmp_path, "algorithm.config.batch_size=256", "seed=1")
    assert names(tmp_path) == [("lift_cube", "rlpd", [0, 1])]


def test_where_a_run_is_kept_is_no_difference(tmp_path):
    make_run(tmp_path, "seed=0")
    make_run(tmp_path, "transport.address=tcp://127.0.0.1:5999", "recording.episodes=false", "seed=1")
    assert names(tmp_path) == [("lift_cube", "rlpd", [0, 1])]


def test_another_task_under_the_same_name_is_another_task(tmp_path):
    make_run(tmp_path, "seed=0")
    make_run(tmp_path, "task.episode_length_s=9.0", "algorithm=sac", "seed=1")
    assert [(task, label) for task, label, _ in names(tmp_path)] == [
        ("lift_cube episode_length_s=5.0", "rlpd"),
        ("lift_cube episode_length_s=9.0", "sac"),
    ]


def test_a_choice_by_name_stands_for_what_it_brings_and_for_no_more(tmp_path):
    make_run(tmp_path, "seed=0")
    make_run(tmp_path, "reset=scripted", "seed=0")
    assert [label for _, label, _ in names(tmp_path)] == ["rlpd reset=robot", "rlpd reset=scripted"]
    make_run(tmp_path, "reset=scripted", "reset.config.grasps=7", "seed=0")
    assert [label for _, label, _ in names(tmp_path)] == [
        "rlpd grasps=7 reset=scripted",
        "rlpd grasps=null reset=robot",
        "rlpd grasps=null reset=scripted",
    ]


def test_a_label_means_the_same_on_every_task(tmp_path):
    make_run(tmp_path, "seed=0")
    make_run(tmp_path, "algorithm.config.critics=10", "seed=0")
    make_run(tmp_path, "task=reach", "seed=0")
    assert ("reach", "rlpd critics=2", [0]) in names(tmp_path)


def test_keys_that_end_alike_are_told_apart(tmp_path):
    for words in ((), ("evaluation.episodes=60",), ("demonstrations.episodes=5",)):
        make_run(tmp_path, *words, "seed=0")
    assert {label for _, label, _ in names(tmp_path)} == {
        "rlpd demonstrations.episodes=20 evaluation.episodes=50",
        "rlpd demonstrations.episodes=20 evaluation.episodes=60",
        "rlpd demonstrations.episodes=5 evaluation.episodes=50",
    }


def test_every_run_is_found_once_by_folder_pattern_and_link(tmp_path):
    paths = make_seeds(tmp_path)
    words = [str(tmp_path), str(paths[0]), str(tmp_path / "latest"), str(tmp_path / "*seed1")]
    assert sorted(find_runs(words)) == sorted(paths)


# Bad input


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], ["needs runs", "journeyman compare runs"]),
        (["nowhere"], ["nowhere does not exist", "journeyman train"]),
        (["none*"], ["none* does not exist"]),
        (["."], [". is no run and holds none"]),
        ([".", "speed=3"], ["'speed'", "alpha", "out"]),
        ([".", "block=1"], ["block 1", "at least 2"]),
        ([".", "alpha=1.5"], ["alpha 1.5", "between 0 and 1"]),
    ],
)
def test_wrong_words_get_one_sentence(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert main(["compare", *words]) == 2
    complaint = capsys.readouterr().err
    assert "Traceback" not in complaint
    assert all(part in complaint for part in expected), complaint
    assert not (tmp_path / "compare").exists()


def test_two_runs_of_one_seed_are_named(tmp_path):
    first, second = make_run(tmp_path, "seed=3"), make_run(tmp_path, "seed=3")
    with pytest.raises(InputError, match=r"both seed 3 of rlpd on lift_cube") as refusal:
        names(tmp_path)
    assert str(first) in str(refusal.value)
    assert str(second) in str(refusal.value)


def damage(path, name, text):
    (path / name).write_text(text)


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (lambda run: damage(run, "config.yaml", "task: [\n"), "cannot be read"),
        (lambda run: damage(run, "config.yaml", "tusk: 3\n"), "no key 'tusk'"),
        (
            lambda run: damage(run, "versions.json", json.dumps({**versions(), "format_version": 0})),
            "format 0",
        ),
        (lambda run: damage(run, "report/summary.json", '{"success_rate": 1.0}'), "summary.json is damaged"),
        (lambda run: (run / "report/summary.json").unlink(), "has no report"),
        (lambda run: damage(run, "journal.jsonl", "{\n"), "journal.jsonl is damaged"),
        (lambda run: damage(run, "journal.jsonl", '{"kind": "evaluation"}\n'), "journal.jsonl is damaged"),
        (lambda run: damage(run, "journal.jsonl", "[3]\n"), "journal.jsonl is damaged"),
    ],
)
def test_what_cannot_be_compared_is_left_out_and_said(tmp_path, spoil, expected):
    bad, _, _ = make_seeds(tmp_path)
    spoil(bad)
    runs, left_out = read_runs(find_runs([str(tmp_path)]))
    assert len(runs) == 2
    assert list(left_out) == [str(bad)]
    assert expected in left_out[str(bad)]
    assert "Runs left out" in told(tmp_path)


def test_a_run_that_stopped_early_does_not_count_as_one_that_came_to_its_end(tmp_path):
    make_run(tmp_path, "seed=0", curve=((1029, 4), (2400, 50)))
    make_run(tmp_path, "seed=1", curve=((1029, 4), (2400, 50)))
    with pytest.raises(InputError, match=r"stopped after 2,400 of 6,000 environment steps.* 1 more cannot"):
        read_runs(find_runs([str(tmp_path)]))


def test_a_run_without_an_evaluation_is_said(tmp_path):
    run = make_run(tmp_path)
    summary = json.loads((run / "report/summary.json").read_text())
    damage(run, "report/summary.json", json.dumps({**summary, "evaluation_episodes": 0}))
    with pytest.raises(InputError, match="never evaluated"):
        read_runs(find_runs([str(tmp_path)]))


def test_without_scipy_one_sentence_says_what_to_install(tmp_path, monkeypatch, capsys):
    make_seeds(tmp_path / "runs")
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    assert main(["compare", str(tmp_path / "runs"), f"out={tmp_path / 'out'}"]) == 2
    assert "pip install 'journeyman[compare]'" in capsys.readouterr().err


# Figures of one group


def test_all_episodes_are_pooled_with_a_wilson_interval(tmp_path):
    make_seeds(tmp_path, finals=(48, 49, 47))
    [one] = compared(tmp_path).groups
    assert (one.successes, one.episodes) == (144, 150)
    assert one.wilson == wilson_interval(144, 150)
    assert "144 of 150, 92% to 98%" in told(tmp_path)


def test_fewer_than_three_seeds_are_said_instead_of_drawn(tmp_path):
    make_seeds(tmp_path, finals=(40, 50))
    [one] = compared(tmp_path).groups
    assert (one.iqm.low, one.iqm.high) == (None, None)
    assert "90% (2 seeds: too few for an interval)" in told(tmp_path)


def test_seeds_that_never_got_there_are_later_than_all_others(tmp_path):
    never = ((1029, 2), (6000, 20))
    make_run(tmp_path, "seed=0")  # 90 % at 3012 steps.
    make_run(tmp_path, "seed=1", curve=never)
    [one] = compared(tmp_path).groups
    assert (one.steps_to_reach.median, one.steps_to_reach.low, one.steps_to_reach.having) == (None, 3012, 1)
    assert "never (3,012 to never), 1 of 2 seeds never" in told(tmp_path)
    make_run(tmp_path, "seed=2", curve=((1029, 18), (6000, 50)))
    [one] = compared(tmp_path).groups
    assert (one.steps_to_reach.median, one.steps_to_reach.high) == (3012, None)


def test_what_nobody_reached_has_no_number(tmp_path):
    make_run(tmp_path, "seed=0", curve=((6000, 20),))
    assert "never, none of 1 seed" in told(tmp_path)


@pytest.mark.parametrize(
    ("later", "drop", "recovered"),
    [
        ((4, 10, 16, 5, 18), 0.6, 1),
        ((16, 16, 2, 18), 0.7, 1),  # Unchanged at first, as in a warm-up.
        ((16, 2), 0.7, 0),
        ((10, 4, 15), 0.6, 0),
    ],
)
def test_the_dip_is_to_the_lowest_point_whenever_that_is(tmp_path, later, drop, recovered):
    on_the_way = [(1000 * (n + 1), successes) for n, successes in enumerate(later)]
    make_run(tmp_path, curve=((0, 16), *on_the_way, (6000, 39)), offline=3000)
    [one] = compared(tmp_path).groups
    assert one.dip.drop.median == pytest.approx(drop)
    assert one.dip.recovered == recovered


def test_no_dip_is_made_up(tmp_path):
    make_run(tmp_path / "none", curve=((0, 16), (1000, 2), (6000, 40)))
    make_run(tmp_path / "unseen", offline=3000)
    make_run(tmp_path / "imitation", "algorithm=bc", curve=((0, 16),), offline=3000)
    assert all(compared(tmp_path / name).groups[0].dip is None for name in ("none", "unseen", "imitation"))
    assert "no offline phase" in told(tmp_path / "none")
    assert "not seen" in told(tmp_path / "unseen")


def test_of_several_agents_the_worst_counts_where_all_were_evaluated(tmp_path):
    run = make_run(
        tmp_path,
        "task=relocate",
        "practice=forward_backward",
        agents=("there", "back"),
        curve=((1029, 10), (6000, 48)),
    )
    journal = Journal(run / "journal.jsonl")
    for name, steps, successes in (("there", 2007, 20), ("back", 2007, 3), ("back", 3012, 0)):
        journal.write("evaluation", {**evaluation(steps, successes), "agent": name})
    journal.close()
    [found] = read_runs([run])[0]
    assert [(point.step, point.successes) for point in found.curve] == [(1029, 10), (2007, 3), (6000, 48)]


def test_curves_stand_together_where_all_seeds_were_evaluated(tmp_path):
    make_run(tmp_path, "seed=0", curve=((1000, 4), (2049, 8), (6000, 40)))
    make_run(tmp_path, "seed=1", curve=((1042, 6), (3000, 8), (6000, 50)))
    [one] = compared(tmp_path).groups
    assert [(point.step, point.success.value) for point in one.curve] == [
        (1000, pytest.approx(0.25)),
        (6000, pytest.approx(0.9)),
    ]


# Figures over tasks


def test_over_tasks_means_over_those_that_all_share(tmp_path):
    for words in (("task=reach",), ("task=lift_cube",), ("task=reach", "algorithm=sac")):
        make_seeds(tmp_path, *words)
    over = compared(tmp_path).over_tasks
    assert (over.tasks, over.left_out) == (["reach"], ["lift_cube"])
    assert "not every algorithm was run on it: lift_cube" in told(tmp_path)


def test_without_a_shared_task_nothing_is_said_over_tasks(tmp_path):
    make_seeds(tmp_path, "task=reach")
    make_seeds(tmp_path, "task=lift_cube", "algorithm=sac")
    over = compared(tmp_path).over_tasks
    assert (over.tasks, over.iqm, over.improvements) == ([], {}, [])
    assert "no task that all algorithms were run on" in told(tmp_path)


def test_what_else_differs_is_said(tmp_path):
    make_seeds(tmp_path)
    make_seeds(tmp_path, "algorithm=sac", "demonstrations.episodes=0")
    comparison = compared(tmp_path)
    assert comparison.other_differences == {"lift_cube": {"demonstrations.episodes": {"rlpd": 20, "sac": 0}}}
    assert "| lift_cube | demonstrations.episodes | rlpd: 20, sac: 0 |" in told(tmp_path)


def test_no_percentage_stands_without_an_interval_or_a_count(tmp_path):
    make_seeds(tmp_path, finals=(48, 49, 40, 44))
    make_seeds(tmp_path, "algorithm=sac", finals=(12, 9))
    make_seeds(tmp_path, "algorithm=drq", finals=(50, 50, 50))
    rows = [line for line in told(tmp_path).splitlines() if line.startswith("|")]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    figures = [cell for cell in cells if re.match(r"\d+%", cell)]
    assert len(figures) >= 12
    assert all(re.search(r", \d+% to \d+%$|\(.*(too few|no spread).*\)$", figure) for figure in figures), (
        figures
    )


# Which seeds are needed


def test_the_command_for_missing_seeds_makes_their_configuration(tmp_path):
    make_seeds(tmp_path, "algorithm.config.critics=10", "demonstrations.folder='my demos/1'")
    make_seeds(tmp_path, "algorithm=sac")
    decided = compared(tmp_path).decisions["lift_cube"]
    assert decided.next_seeds == {"rlpd": [3, 4], "sac": [3, 4]}
    assert decided.commands["sac"] == (
        "for seed in 3 4; do journeyman train task=lift_cube algorithm=sac seed=$seed; done"
    )
    words = shlex.split(decided.commands["rlpd"])
    again = compose([word for word in words[words.index("train") + 1 :] if "=" in word and "$" not in word])
    assert again.algorithm.config["critics"] == 10
    assert again.demonstrations.folder == "my demos/1"
    assert decided.commands["rlpd"] in told(tmp_path)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["algorithm=bc"],
        [
            "task=lift_cube_pixels",
            "algorithm=drq",
            "algorithm.config.encoder={kind: conv, augment_pixels: 3}",
        ],
        ["task=relocate", "practice=forward_backward", "algorithm=ibrl"],
        ["task=relocate", "practice=forward_backward", "reset=robot", "device=gamepad"],
        ["reward=vice", "curriculum=failures"],
        [r"demonstrations.folder='it\'s \ and \\'"],
        ["demonstrations.folder='null'", "learner.device=cpu", "evaluation.baseline=false"],
        ["task.observation=[{name: ee_position, scale: 0.25}]", "task.workspace.min_m=[0.3,-0.1,0.02]"],
        ["~algorithm.config.layer_norm"],
    ],
)
def test_a_command_line_gives_any_configuration_back(words):
    config = compose(words)
    command = train_command(config, [7])
    assert msgspec.structs.replace(config, seed=7) == compose(shlex.split(command)[2:])


def test_a_configuration_that_no_command_line_makes_is_said(tmp_path):
    for path in make_seeds(tmp_path):
        config = read_config(path / "config.yaml")
        renamed = msgspec.structs.replace(config, task=msgspec.structs.replace(config.task, name="my_own"))
        write_config(renamed, path / "config.yaml")
    make_seeds(tmp_path, "algorithm=sac")
    for path in find_runs([str(tmp_path / "*sac*")]):
        config = read_config(path / "config.yaml")
        renamed = msgspec.structs.replace(config, task=msgspec.structs.replace(config.task, name="my_own"))
        write_config(renamed, path / "config.yaml")
    assert compared(tmp_path).decisions["my_own"].commands == {"rlpd": None, "sac": None}
    assert "cannot be given on a command line" in told(tmp_path)


def test_commands_know_all_groups_of_choices():
    assert set(COMMAND_GROUPS) == set(_GROUPS)


def test_clear_differences_are_decided_and_need_nothing(tmp_path):
    make_seeds(tmp_path, finals=(48, 49, 47, 50, 46))
    make_seeds(tmp_path, "algorithm=sac", finals=(2, 3, 1, 0, 5))
    decided = compared(tmp_path).decisions["lift_cube"]
    assert [str(pair.decision) for pair in decided.outcome.pairs] == ["larger"]
    assert decided.commands == {}
    assert "larger success, after 5 seeds of each" in told(tmp_path)


# What is written


def test_everything_is_written(tmp_path, capsys):
    make_seeds(tmp_path / "runs", finals=(48, 49, 47))
    make_seeds(tmp_path / "runs", "algorithm=sac", finals=(20, 22, 25))
    assert main(["compare", str(tmp_path / "runs"), f"out={tmp_path / 'out'}", "block=3"]) == 0
    output = capsys.readouterr().out
    assert "Probability of improvement" in output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    plots = {"sample_efficiency.png", "performance_profile.png", "probability_of_improvement.png"}
    assert names == {"table.md", "results.csv", "compare.json", *plots}
    rows = list(csv.DictReader((tmp_path / "out/results.csv").open()))
    assert list(rows[0]) == ["task", "algorithm", "seed", "step", "score", "successes", "episodes"]
    assert len(rows) == 6 * len(CURVE)
    final = [row for row in rows if row["step"] == "6000" and row["algorithm"] == "sac"]
    assert [(row["seed"], row["score"]) for row in final] == [("0", "0.4"), ("1", "0.44"), ("2", "0.5")]
    content = json.loads((tmp_path / "out/compare.json").read_text())
    assert content["groups"][0]["successes"] == 144
    assert content["plan"]["block"] == 3
    for name in plots:
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_many_algorithms_look_different():
    labels = [f"rlpd critics={number}" for number in range(24)]
    assert len(set(_looks(labels).values())) == len(labels)


def test_one_algorithm_alone_is_compared_with_nothing(tmp_path, capsys):
    make_seeds(tmp_path / "runs", finals=(48,))
    assert main(["compare", str(tmp_path / "runs"), f"out={tmp_path / 'out'}"]) == 0
    assert "Which differ" not in capsys.readouterr().out
    assert not (tmp_path / "out/probability_of_improvement.png").exists()


def test_the_same_runs_give_the_same_figures(tmp_path):
    make_seeds(tmp_path, finals=(48, 40, 30, 44))
    make_seeds(tmp_path, "algorithm=sac", finals=(20, 45, 33))
    assert compared(tmp_path) == compared(tmp_path)


def test_a_folder_that_cannot_be_written_is_said(tmp_path, capsys):
    make_seeds(tmp_path / "runs", finals=(48,))
    (tmp_path / "out").write_text("")
    assert main(["compare", str(tmp_path / "runs"), f"out={tmp_path / 'out'}"]) == 2
    assert "choose another with out=DIR" in capsys.readouterr().err


def make_pretrained(root, seed, *overrides):
    """A run that went on, and before it the one that it began with; returns its configuration."""
    first = ("algorithm=calql", "learner.max_environment_steps=0", f"seed={seed}", *overrides)
    before = make_run(root, *first, curve=((0, 45),), offline=10)
    (before / "demonstrations").mkdir()
    words = ("algorithm=wsrl", f"init={before}", f"seed={seed}", "demonstrations.episodes=5")
    path = make_run(root, *words, curve=((0, 18), (500, 16), (6000, 45)))
    config = begun_from(composed(*words))
    write_config(config, path / "config.yaml")
    return config


def test_seeds_that_begin_each_with_a_run_of_its_own_are_pooled_and_their_dip_is_seen(tmp_path):
    for seed in range(3):
        make_pretrained(tmp_path, seed)
    assert names(tmp_path) == [("lift_cube", "calql", [0, 1, 2]), ("lift_cube", "wsrl", [0, 1, 2])]
    (wsrl,) = [one for one in compared(tmp_path).groups if one.algorithm == "wsrl"]
    assert wsrl.dip.drop.median == pytest.approx(0.1)
    make_pretrained(tmp_path, 3, "algorithm.config.conservative_weight=5")
    assert sum(label.startswith("wsrl init=calql-") for _, label, _ in names(tmp_path)) == 2


def test_the_command_for_missing_seeds_pretrains_them_first(tmp_path):
    config = make_pretrained(tmp_path, 0)
    command = train_command(config, [4, 5])
    first, then = re.fullmatch(
        r"for seed in 4 5; do (.*) seed=\$seed; (.*) seed=\$seed; done", command
    ).groups()
    assert "algorithm=calql" in first
    assert "init" not in first
    again = compose([*shlex.split(then)[2:], "seed=0"])
    assert again.init == "runs/latest"
    assert again.demonstrations.folder is None
    assert again == msgspec.structs.replace(as_given(config), init="runs/latest")


def test_a_run_whose_beginning_is_gone_is_left_out_and_said(tmp_path):
    make_run(tmp_path, "algorithm=wsrl", "init=nowhere")
    make_run(tmp_path, "seed=1")
    _, left_out = read_runs(find_runs([str(tmp_path)]))
    assert "nowhere is not a run directory" in " ".join(left_out.values())
