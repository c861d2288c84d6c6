"""`journeyman episodes stats DIR...`: how good the episodes are as data to learn from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from agent.config import Config, InputError
from agent.evaluation import wilson_interval
from journeyman.episodes import measures
from journeyman.episodes.description import action_names, period_s, state_scales, task_name
from journeyman.episodes.recordings import Recording, read_all
from journeyman.episodes.words import make_console, make_table, split_words, write_json
from journeyman.options import read_options
from robot_env.episode import Episode


class StatsOptions(Config):
    """Options of `journeyman episodes stats`.

    Attributes:
        json: File to write the same to, or `-` for standard output instead of the tables.
        random: What TQ takes for 0: a folder of episodes of a random policy, or its mean return.
        expert: What TQ takes for 1: a folder of episodes of an expert, or its mean return.
        reference: Folder of episodes that SACo compares with.
        bins: Cells per entry of state and action, by which pairs count as the same.
    """

    json: str | None = None
    random: str | None = None
    expert: str | None = None
    reference: str | None = None
    bins: int = 10

    def __post_init__(self) -> None:
        """Refuse half a scale, and a grid without cells."""
        if (self.random is None) != (self.expert is None):
            raise ValueError(
                f"random {self.random!r} and expert {self.expert!r} must be given both or not at all"
            )
        if not 1 <= self.bins <= 10_000:
            raise ValueError(f"bins {self.bins} must lie between 1 and 10000")


def run(words: list[str]) -> int:
    """Measure.

    Raises:
        InputError: A path does not exist, no episode is whole, or they have different states or actions.
    """
    paths, rest = split_words(words)
    options = read_options(StatsOptions, rest, "episodes stats")
    episodes, faulty = _read(paths)
    content = {
        "task": task_name(episodes[0].metadata),
        "not_used": {str(one.path): one.fault for one in faulty},
        **_summary(episodes),
        "trajectory_quality": _quality(episodes, options),
        "coverage": _coverage(episodes, options),
        "actions": _action_entries(episodes),
        "states": _state_entries(episodes),
    }
    if options.json is not None:
        write_json(content, options.json)
    if options.json != "-":
        _print(make_console(), content)
    return 0


def _read(paths: Sequence[Path]) -> tuple[list[Episode], list[Recording]]:
    """The whole episodes, which must fit each other, and the other files."""
    whole, faulty = read_all(paths, "stats")
    for one in whole[1:]:
        if _layout(one) != _layout(whole[0]):
            raise InputError(
                f"{one.path} has another state or other actions than {whole[0].path}; ask for the statistics of each "
                "task by itself."
            )
    return [one.episode for one in whole if one.episode is not None], faulty


def _layout(recording: Recording) -> tuple[object, ...]:
    assert recording.episode is not None
    metadata = recording.episode.metadata
    return task_name(metadata), metadata.state_names, metadata.action_size


def _summary(episodes: Sequence[Episode]) -> dict[str, Any]:
    """Counts, lengths, returns, and how the arm moved."""
    successes = sum(bool(episode.success) for episode in episodes)
    low, high = wilson_interval(successes, len(episodes))
    intervened = [episode.intervened for episode in episodes]
    periods_s = [period_s(episode) for episode in episodes]
    both = list(zip(episodes, periods_s, strict=True))
    smooth = [found for found in (measures.smoothness(*one) for one in both) if found is not None]
    idle = [share for share in (measures.idle_share(*one) for one in both) if share is not None]
    return {
        "episodes": len(episodes),
        "successes": successes,
        "success_rate": successes / len(episodes),
        "success_low": low,
        "success_high": high,
        "steps": _spread([len(episode.actions) for episode in episodes]),
        "seconds": _spread([float(episode.elapsed_s[-1]) for episode in episodes]),
        "returns": _spread([float(episode.rewards.sum()) for episode in episodes]),
        "intervened_share": float(np.concatenate(intervened).mean()),
        "intervened_episodes": sum(bool(one.any()) for one in intervened),
        "takeovers": sum(measures.takeovers(one) for one in intervened),
        "jerk_rms_m_s3": _spread([one.jerk_rms_m_s3 for one in smooth]),
        "log_dimensionless_jerk": _spread([one.log_dimensionless_jerk for one in smooth]),
        "idle_share": _spread(idle),
        "gaps": sum(len(measures.gaps(e.elapsed_s, expected_s)) for e, expected_s in both),
        "repeated_stamps": sum(measures.repeated(episode.elapsed_s) for episode in episodes),
    }


def _spread(values: Sequence[float]) -> dict[str, float] | None:
    """Lowest, mean, median and highest; None of nothing."""
    if not values:
        return None
    return {
        "lowest": min(values),
        "mean": float(np.mean(values)),
        "median": float(np.median(values)),
        "highest": max(values),
    }


def _quality(episodes: Sequence[Episode], options: StatsOptions) -> dict[str, Any]:
    """TQ, and by which returns it is scaled."""
    returns = [float(episode.rewards.sum()) for episode in episodes]
    if options.random is None or options.expert is None:
        low, high, scale = min(returns), max(returns), "the worst and the best episode here"
    else:
        low, high = _mean_return(options.random), _mean_return(options.expert)
        scale = f"random={options.random} and expert={options.expert}"
    quality = measures.trajectory_quality(float(np.mean(returns)), low, high)
    return {"tq": quality, "return_at_0": low, "return_at_1": high, "scaled_by": scale}


def _mean_return(given: str) -> float:
    """A number as it is, or the mean return of a folder of episodes."""
    try:
        value = float(given)
    except ValueError:
        episodes, _ = _read([Path(given)])
        return float(np.mean([episode.rewards.sum() for episode in episodes]))
    if not np.isfinite(value):
        raise InputError(f"The mean return {given!r} is not finite; give a number or a folder of episodes.")
    return value


def _coverage(episodes: Sequence[Episode], options: StatsOptions) -> dict[str, Any]:
    """Unique pairs of state and action, and with a reference SACo."""
    pairs = measures.pairs_of(episodes)
    reference = None
    if options.reference is not None:
        others, _ = _read([Path(options.reference)])
        if others[0].metadata.state_names != episodes[0].metadata.state_names or (
            others[0].metadata.action_size != episodes[0].metadata.action_size
        ):
            raise InputError(
                f"reference={options.reference} has another state or other actions; choose like data."
            )
        reference = measures.pairs_of(others)
    both = pairs if reference is None else np.concatenate([pairs, reference])
    low, high = both.min(0), both.max(0)
    actions = slice(-episodes[0].metadata.action_size, None)
    low[actions], high[actions] = -1.0, 1.0
    unique = measures.unique_pairs(pairs, low, high, options.bins)
    found: dict[str, Any] = {"pairs": len(pairs), "unique_pairs": unique, "bins": options.bins, "saco": None}
    if reference is not None:
        found["reference_unique_pairs"] = measures.unique_pairs(reference, low, high, options.bins)
        found["saco"] = unique / found["reference_unique_pairs"]
    return found


def _action_entries(episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    actions = np.concatenate([episode.actions for episode in episodes])
    shares = measures.saturation(actions)
    entries = _entries(action_names(episodes[0].metadata), actions)
    return {
        name: {**entry, "saturated": float(share)}
        for (name, entry), share in zip(entries.items(), shares, strict=True)
    }


def _state_entries(episodes: Sequence[Episode]) -> dict[str, dict[str, float]]:
    """Ranges of the state in the units of its observables."""
    values = [episode.observations["state"] * state_scales(episode.metadata) for episode in episodes]
    return _entries(episodes[0].metadata.state_names, np.concatenate(values))


def _entries(names: Sequence[str], values: NDArray[Any]) -> dict[str, dict[str, float]]:
    return {
        name: {
            "lowest": float(column.min()),
            "mean": float(column.mean()),
            "highest": float(column.max()),
            "deviation": float(column.std()),
        }
        for name, column in zip(names, values.T, strict=True)
    }


def _print(console: Console, content: dict[str, Any]) -> None:
    for path, fault in content["not_used"].items():
        console.print(f"[yellow]not used: {escape(path)}[/]: {escape(fault)}", soft_wrap=True)
    quality, coverage = content["trajectory_quality"], content["coverage"]
    console.print(
        f"{content['task']}: {content['successes']} of {content['episodes']} episodes succeed: "
        f"{content['success_rate']:.0%} (95 % interval {content['success_low']:.0%} to {content['success_high']:.0%})"
    )
    table = make_table("\nPer episode", "measure", ">lowest", ">mean", ">median", ">highest")
    for name, label in _SPREADS.items():
        spread = content[name]
        table.add_row(
            escape(label), *([f"{value:.4g}" for value in spread.values()] if spread else ["-"] * 4)
        )
    console.print(table)
    tq = "none, as both ends of its scale are equal" if quality["tq"] is None else f"{quality['tq']:.3f}"
    console.print(
        f"\nTrajectory quality (TQ): {tq}; 0 is a return of {quality['return_at_0']:g}, 1 of "
        f"{quality['return_at_1']:g}, by {escape(quality['scaled_by'])}",
        soft_wrap=True,
    )
    console.print(f"State-action coverage: {_describe_coverage(coverage)}", soft_wrap=True)
    console.print(
        f"Human: {content['intervened_share']:.1%} of the steps, {content['takeovers']} takeovers in "
        f"{content['intervened_episodes']} episodes. Time: {content['gaps']} steps took more than 1.5 periods, "
        f"{content['repeated_stamps']} stamps repeat",
        soft_wrap=True,
    )
    _print_entries(console, "\nActions", content["actions"], saturated=True)
    _print_entries(console, "\nState, in the units of its observables", content["states"], saturated=False)


_SPREADS = {
    "steps": "steps",
    "seconds": "seconds",
    "returns": "return",
    "jerk_rms_m_s3": "jerk [m/s^3]",
    "log_dimensionless_jerk": "log dimensionless jerk",
    "idle_share": "idle share",
}


def _describe_coverage(coverage: dict[str, Any]) -> str:
    found = f"{coverage['unique_pairs']} unique pairs of {coverage['pairs']} with {coverage['bins']} bins per entry"
    if coverage["saco"] is None:
        return f"{found}; SACo needs reference=DIR"
    return f"SACo {coverage['saco']:.3f}: {found}, the reference has {coverage['reference_unique_pairs']}"


def _print_entries(
    console: Console, title: str, entries: dict[str, dict[str, float]], saturated: bool
) -> None:
    columns = ("entry", ">lowest", ">mean", ">highest", ">deviation", *((">saturated",) if saturated else ()))
    table = make_table(title, *columns)
    for name, entry in entries.items():
        cells = [f"{entry[key]:.4f}" for key in ("lowest", "mean", "highest", "deviation")]
        table.add_row(escape(name), *cells, *([f"{entry['saturated']:.0%}"] if saturated else []))
    console.print(table)
