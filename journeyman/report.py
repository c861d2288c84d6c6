"""`journeyman report`: learning curve, video, configuration, versions and `summary.json` of a run."""

import argparse
import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from agent.evaluation import Evaluation
from agent.journal import JournalReader, last_of_each_process
from agent.record_log import FrameKind, RecordLog
from agent.transport.quarantine import count_reasons
from agent.transport.spool import Spool
from journeyman import (
    baseline,
    decline,
    interventions,
    practice_report,
    protection,
    reward_watch,
    spot_checks,
)
from journeyman.config import RunConfig
from journeyman.evaluate import describe, evaluate_newest, open_run
from journeyman.run_directory import RunDirectory
from journeyman.video import Film
from journeyman.wiring import make_env, make_spec

_WINDOW = 20


def run(options: argparse.Namespace) -> int:
    """Evaluate the newest policy and write the report."""
    directory, config = open_run(options.overrides, "report")
    print(write_report(config, directory))
    return 0


def write_report(config: RunConfig, directory: RunDirectory) -> str:
    """Write `report/` and say in a few lines what is in it."""
    sent, stored, aside = _count_transitions(config, directory)  # First: it says so if the run is in use.
    folder = directory.report
    folder.mkdir(exist_ok=True)
    evaluations, cloned, film_note = _evaluate_and_film(config, directory, folder)
    journal = JournalReader(directory.journal).new()
    _plot(journal, evaluations, cloned, config, folder / "learning_curve.png")
    for source in (directory.config, directory.versions):
        shutil.copy(source, folder / source.name)
    summary = _summary(config, journal, evaluations) | {
        "transitions_sent": sent,
        "transitions_stored": stored,
        "protection": protection.summarise(journal, aside),
        "spot_checks": spot_checks.watch(directory.episodes),
        "baseline": msgspec.to_builtins(cloned),
        "decline": _decline(config, journal, evaluations),
    }
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    lines = [
        *(f"{describe(evaluation, name)}." for name, evaluation in evaluations.items()),
        *([baseline.describe(cloned)] if cloned else []),
        *([decline.describe(summary["decline"], directory.path)] if summary["decline"] else []),
        *filter(None, [protection.describe(summary["protection"])]),
        *(
            tell(summary[key])
            for key, tell in (
                ("interventions", interventions.describe),
                ("practice", practice_report.describe),
                ("reward_watch", reward_watch.describe),
                ("spot_checks", spot_checks.describe),
            )
            if summary[key]
        ),
        f"Report: {folder}/learning_curve.png, summary.json, {film_note}",
    ]
    return "\n".join(lines)


def _evaluate_and_film(
    config: RunConfig, directory: RunDirectory, folder: Path
) -> tuple[dict[str, Evaluation], Evaluation | None, str]:
    """The final evaluation, whose first episodes are filmed where that is possible, and the baseline's."""
    wanted = config.evaluation.video_episodes
    env = make_env(config, render=wanted > 0, run=directory)
    path = folder / "evaluation.mp4"
    film = Film(path, config.task.control_rate_hz)

    def shoot(episode: int, info: dict[str, Any]) -> None:
        if episode < wanted and film.refused is None:
            film.add(env, f"{config.task.name}  episode {episode + 1}", bool(info.get("success")))

    try:
        evaluations = evaluate_newest(config, directory, env, shoot)
        cloned = baseline.measure(config, directory, env)
    finally:
        film.close()
        env.close()
    if film.refused:
        return evaluations, cloned, f"no video: {film.refused}"
    return evaluations, cloned, path.name if wanted else "no video was asked for"


def _summary(
    config: RunConfig, journal: list[dict[str, Any]], evaluations: dict[str, Evaluation]
) -> dict[str, Any]:
    learner = _last_of_each_learner(journal)
    # Of several agents the worst: a pair is no better than that.
    evaluation = min(evaluations.values(), key=lambda result: result.success_rate)
    sessions = [e for e in journal if e["kind"] == "session"]
    episodes = [e for e in journal if e["kind"] == "episode"]
    processes = last_of_each_process(episodes)
    steps = max((entry["environment_steps"] for entry in learner.values()), default=0)
    updates = {name: entry["updates"] for name, entry in learner.items()}
    return {
        "task": config.task.name,
        "algorithm": config.algorithm.name,
        "robot": config.robot.name,
        "reward": config.reward.name,
        "seed": config.seed,
        "success_rate": evaluation.success_rate,
        "success_low": evaluation.success_low,
        "success_high": evaluation.success_high,
        "evaluation_episodes": evaluation.episodes,
        "mean_episode_steps": evaluation.mean_length,
        "environment_steps": steps,
        "episodes": len(episodes),
        "demonstrations": config.demonstrations.episodes,
        "robot_minutes": round(steps / config.task.control_rate_hz / 60, 2),
        "wall_s": round(sum(e["wall_s"] for e in sessions), 1),
        "cpu_s": round(sum(e["cpu_s"] for e in sessions), 1),
        "offline_updates": sum(entry.get("offline", (0, 0))[0] for entry in learner.values()),
        "updates": sum(updates.values()),
        "agents": {
            name: {**msgspec.to_builtins(result), "updates": updates.get(name, 0)}
            for name, result in evaluations.items()
            if name
        },
        "missed_deadlines": sum(e["missed_deadlines"] for e in processes),
        "worst_lateness_s": max((e["worst_lateness_s"] for e in processes), default=0.0),
        "lateness": [e.get("lateness", {}) for e in processes],
        "inference": _worst_inference(episodes),
        "observation_ages": [e.get("observation_ages", {}) for e in processes],
        "limit_hits": [e["limit_hits"] for e in processes],
        "interventions": interventions.summarise(episodes),
        "practice": _practice(config, journal, episodes),
        "reward_watch": reward_watch.watch(episodes),
    }


def _worst_inference(episodes: list[dict[str, Any]]) -> dict[str, float]:
    """How long policies took to decide: of each figure the one of the episode where it was worst."""
    worst: dict[str, float] = {}
    for entry in episodes:
        for name, seconds in entry.get("inference", {}).items():
            worst[name] = max(worst.get(name, 0.0), seconds)
    return worst


def _decline(
    config: RunConfig, journal: list[dict[str, Any]], evaluations: dict[str, Evaluation]
) -> dict[str, Any] | None:
    """See `decline`; None for several agents, whose evaluations on the way are of single policies."""
    if config.evaluation.checkpoint != "newest" or len(evaluations) != 1:
        return None
    return decline.summarise(journal, *evaluations.values())


def _last_of_each_learner(journal: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest `learner` entry by the name of the agent."""
    return {entry.get("agent", ""): entry for entry in journal if entry["kind"] == "learner"}


def _practice(
    config: RunConfig, journal: list[dict[str, Any]], episodes: list[dict[str, Any]]
) -> dict[str, Any] | None:
    """How the robot practised; None where the twin puts everything where it wants, which tells nothing."""
    if config.robot.provenance == "twin" and config.reset.factory is None:
        return None
    return practice_report.summarise([e for e in journal if e["kind"] == "state"], episodes)


def _count_transitions(config: RunConfig, directory: RunDirectory) -> tuple[int, int, dict[str, int]]:
    """Transitions that actors handed over, by their own numbering, and transitions that the learner stored.

    The two are independent: a stream numbers transitions and reports together, so what was handed over is what
    remains of the numbers without the reports. What an actor of another machine still spools is not seen here. Of what
    was stored a part may be in the quarantine, from which nothing is learned: third is how much of it, by the reason.

    Raises:
        InputError: The run is in use.
    """
    env = make_env(config)
    dtype = make_spec(env).dtype
    env.close()
    counts = [_count_of_agent(directory.agent(name), dtype) for name in config.practice.agents]
    sent, stored, asides = zip(*counts, strict=True)
    reasons = sum(map(Counter, asides), Counter[str]())
    return sum(sent), sum(stored), dict(reasons)


def _count_of_agent(home: RunDirectory, dtype: np.dtype[np.void]) -> tuple[int, int, dict[str, int]]:
    log = RecordLog.open(home.replay_log, dtype)
    reports = sum(frame.kind is FrameKind.REPORT for frame in log.frames())
    aside, cursors = count_reasons(home.quarantine, dtype)
    for stream, cursor in log.cursors.items():
        cursors[stream] = max(cursors.get(stream, 0), cursor)
    sent = sum(cursors.values()) - reports
    for folder in home.spools():
        spool = Spool(folder, dtype)
        sent += spool.records_from(cursors.get(spool.stream, 0))
        spool.close()
    stored = log.record_count
    log.close()
    return sent, stored + sum(aside.values()), aside


def _plot(
    journal: list[dict[str, Any]],
    finals: dict[str, Evaluation],
    cloned: Evaluation | None,
    config: RunConfig,
    path: Path,
) -> None:
    """Evaluations with their 95 % intervals over environment steps; training success and baseline as thin lines."""
    from matplotlib.figure import Figure  # Late: without it `journeyman train` starts a second earlier.

    figure = Figure(figsize=(8, 5), dpi=130)
    axes: Any = figure.subplots()
    episodes = [e for e in journal if e["kind"] == "episode"]
    if len(episodes) >= _WINDOW:
        _plot_training(axes, episodes)
    if cloned is not None:
        axes.axhline(
            100 * cloned.success_rate,
            color="C2",
            linewidth=1,
            linestyle="--",
            label="success of a clone of the demonstrations",
        )
    for index, (name, final) in enumerate(finals.items()):
        _plot_evaluations(axes, journal, name, final, f"C{3 * index}")
    axes.set(xlabel="environment steps", ylabel="%", ylim=(-3, 103), xlim=(0, None))
    axes.set_title(
        f"{config.task.name}, {config.algorithm.name}, {config.demonstrations.episodes} demonstrations, "
        f"seed {config.seed}",
        loc="left",
    )
    minutes = axes.secondary_xaxis(
        "top",
        functions=(
            lambda s: s / config.task.control_rate_hz / 60,
            lambda m: m * config.task.control_rate_hz * 60,
        ),
    )
    minutes.set_xlabel("robot minutes")
    axes.grid(alpha=0.25)
    # Below, where it hides nothing: curves may be anywhere.
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.14), ncols=2, frameon=False)
    figure.tight_layout()
    figure.savefig(path)


def _plot_evaluations(
    axes: Any, journal: list[dict[str, Any]], agent: str, final: Evaluation, colour: str
) -> None:
    points = [
        msgspec.convert({k: e[k] for k in Evaluation.__struct_fields__}, Evaluation)
        for e in journal
        if e["kind"] == "evaluation" and e.get("agent", "") == agent
    ]
    points = [p for p in points if p.environment_steps < final.environment_steps] + [final]
    steps = [p.environment_steps for p in points]
    low, high = [100 * p.success_low for p in points], [100 * p.success_high for p in points]
    if len(points) > 1:
        axes.fill_between(steps, low, high, alpha=0.2, linewidth=0, color=colour)
    else:
        axes.vlines(steps, low, high, alpha=0.4, linewidth=6, color=colour, clip_on=False)
    # Short where there are several, which stand beside each other.
    what = f"evaluation of {agent}" if agent else "success of deterministic evaluation"
    label = f"{what}, 95 % interval"
    axes.plot(
        steps, [100 * p.success_rate for p in points], marker="o", color=colour, label=label, clip_on=False
    )


def _plot_training(axes: Any, episodes: list[dict[str, Any]]) -> None:
    """Success while exploring and, where a person helped, the share of steps that were the person's."""
    steps = [e["environment_steps"] for e in episodes[_WINDOW - 1 :]]
    windows = [episodes[end - _WINDOW : end] for end in range(_WINDOW, len(episodes) + 1)]
    success = [100 * sum(e["success"] for e in window) / _WINDOW for window in windows]
    axes.plot(
        steps, success, color="0.65", linewidth=1, label=f"success while exploring, last {_WINDOW} episodes"
    )
    if any(e.get("interventions") for e in episodes):
        helped = [
            100 * sum(e.get("intervened_steps", 0) for e in window) / max(1, sum(e["steps"] for e in window))
            for window in windows
        ]
        axes.plot(
            steps,
            helped,
            color="C1",
            linewidth=1,
            label=f"share of steps by a person, last {_WINDOW} episodes",
        )
