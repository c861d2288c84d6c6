"""Finds runs, reads what they came to, and tells which differ in nothing but the seed."""

import glob
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from agent.config import InputError
from agent.journal import JournalReader
from journeyman.config import RunConfig
from journeyman.run_directory import RunDirectory
from journeyman.run_labels import Values, comparable, names, varying


class Point(msgspec.Struct, frozen=True):
    """An evaluation on the way or at the end; of several agents the one that did worst.

    Attributes:
        step: Environment steps of the run.
        successes: Episodes that succeeded.
        episodes: Of so many.
    """

    step: int
    successes: int
    episodes: int

    @property
    def score(self) -> float:
        """Success rate."""
        return self.successes / self.episodes


class Summary(msgspec.Struct, frozen=True):
    """What is read of `report/summary.json`."""

    success_rate: float
    evaluation_episodes: int
    environment_steps: int
    cpu_s: float
    offline_updates: int = 0


class Run(msgspec.Struct, frozen=True):
    """A run that came to its end.

    Attributes:
        path: Its folder.
        config: Its configuration.
        values: Of the keys of it that tell configurations apart, the dotted ones.
        summary: Of its report.
        curve: Evaluations by environment step; the last one is the report's.
    """

    path: Path
    config: RunConfig
    values: Values
    summary: Summary
    curve: tuple[Point, ...]

    @property
    def is_pretrained(self) -> bool:
        """Whether its policy had learned from recorded data before the first environment step."""
        return self.summary.offline_updates > 0 or self.config.init is not None

    @property
    def score(self) -> float:
        """Success rate of the final evaluation."""
        return self.curve[-1].score


class Group(msgspec.Struct, frozen=True):
    """Runs that differ in nothing but the seed, in the order of the seeds."""

    task: str
    label: str
    runs: tuple[Run, ...]

    @property
    def seeds(self) -> list[int]:
        """Of the runs."""
        return [run.config.seed for run in self.runs]

    @property
    def scores(self) -> list[float]:
        """Final success rate of each run."""
        return [run.score for run in self.runs]


def find_runs(words: Sequence[str]) -> list[Path]:
    """The runs that folders, folders of runs and patterns such as 'runs/*rlpd*' name, each once.

    Raises:
        InputError: There is none, or something named is no run and holds none.
    """
    if not words:
        raise InputError(
            "journeyman compare needs runs: journeyman compare runs, or the folders of some of them."
        )
    found: dict[Path, None] = {}
    for word in words:
        matches = [Path(word)] if Path(word).exists() else [Path(m) for m in sorted(glob.glob(word))]
        runs = [run for match in matches for run in runs_in(match)]
        if not runs:
            what = "is no run and holds none" if matches else "does not exist"
            raise InputError(
                f"{word} {what}; name folders that journeyman train made, such as those in runs/."
            )
        found |= dict.fromkeys(runs)
    return list(found)


def read_runs(paths: Sequence[Path]) -> tuple[list[Run], dict[str, str]]:
    """The runs that came to their end, and why others are left out, by folder.

    Raises:
        InputError: None is left.
    """
    runs, left_out = [], {}
    for path in paths:
        try:
            runs.append(_read(path))
        except InputError as error:
            left_out[str(path)] = str(error)
    if not runs:
        first, why = next(iter(left_out.items()))
        others = f" {len(left_out) - 1} more cannot be compared either." if len(left_out) > 1 else ""
        raise InputError(f"No run can be compared. {first}: {why}{others}")
    return runs, left_out


def group(runs: Sequence[Run]) -> list[Group]:
    """Sort by task, configuration and seed.

    Raises:
        InputError: Two runs have the same of all.
    """
    found: dict[tuple[str, str], dict[int, Run]] = {}
    for run, (task, label) in zip(runs, names([(run.config, run.values) for run in runs]), strict=True):
        seeds = found.setdefault((task, label), {})
        twin = seeds.setdefault(run.config.seed, run)
        if twin is not run:
            raise InputError(
                f"{twin.path} and {run.path} are both seed {run.config.seed} of {label} on {task}; leave out one of "
                "them."
            )
    return [
        Group(task, label, tuple(seeds[seed] for seed in sorted(seeds)))
        for (task, label), seeds in sorted(found.items())
    ]


def other_differences(groups: Sequence[Group]) -> dict[str, dict[str, Any]]:
    """Keys outside of the algorithm's own in which the algorithms of one task differ, with the value of each."""
    by_label = {one.label: one.runs[0].values for one in groups}
    keys = [key for key in varying(list(by_label.values())) if not key.startswith("algorithm.")]
    return {key: {label: values.get(key) for label, values in by_label.items()} for key in keys}


def runs_in(path: Path) -> Iterator[Path]:
    """The run that a folder is, or those below it."""
    for folder, inner, files in os.walk(path.resolve()):
        if "run_id" in files:
            inner.clear()
            yield Path(folder)
        inner.sort()


def _read(path: Path) -> Run:
    """Read a run.

    Raises:
        InputError: It is not at its end, or damaged.
    """
    directory, config = RunDirectory.open(path, [])
    try:
        summary = msgspec.json.decode((directory.report / "summary.json").read_bytes(), type=Summary)
    except FileNotFoundError:
        raise InputError(
            f"it has no report; finish it, or write one: journeyman report run={path}."
        ) from None
    except msgspec.DecodeError as error:
        raise InputError(
            f"its report/summary.json is damaged ({error}): journeyman report run={path}."
        ) from None
    planned = config.learner.max_environment_steps
    if summary.environment_steps < planned:
        raise InputError(
            f"it stopped after {summary.environment_steps:,} of {planned:,} environment steps; go on with "
            f"journeyman train run={path}."
        )
    if summary.evaluation_episodes < 1:
        raise InputError(f"it was never evaluated: journeyman report run={path}.")
    return Run(path, config, comparable(config), summary, _curve(directory, config, summary))


def _curve(directory: RunDirectory, config: RunConfig, summary: Summary) -> tuple[Point, ...]:
    try:
        entries = [e for e in JournalReader(directory.journal).new() if e["kind"] == "evaluation"]
        points = worst_agents(entries, len(config.practice.agents))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise InputError(f"its journal.jsonl is damaged ({error}); restore it from a copy.") from None
    successes = round(summary.success_rate * summary.evaluation_episodes)
    final = Point(summary.environment_steps, successes, summary.evaluation_episodes)
    return (*(point for point in points if point.step < final.step), final)


def worst_agents(entries: Sequence[Mapping[str, Any]], agents: int) -> list[Point]:
    """Of each step at which all agents were evaluated the worst result, as in the report."""
    by_step: dict[int, dict[str, Point]] = {}
    for entry in entries:
        point = Point(entry["environment_steps"], entry["successes"], entry["episodes"])
        by_step.setdefault(point.step, {})[entry.get("agent", "")] = point
    return [
        min(points.values(), key=lambda point: point.score)
        for _, points in sorted(by_step.items())
        if len(points) == agents
    ]
