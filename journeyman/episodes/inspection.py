"""`journeyman episodes inspect FILE`: everything about one recording, and pictures of it."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from agent.config import Config, InputError
from journeyman.episodes.description import action_names, outcome, period_s, state_in_units, task_name
from journeyman.episodes.measures import gaps, repeated, saturation
from journeyman.episodes.recordings import Recording, examine
from journeyman.episodes.views import contact_sheet, film, plot
from journeyman.episodes.words import make_console, make_table, one_file, split_words
from journeyman.options import read_options
from robot_env.episode import Episode
from robot_env.mcap_file import LoggedMessage
from robot_env.program import DONE, FAILED

_MOST_GAPS = 10


class InspectOptions(Config):
    """Options of `journeyman episodes inspect`.

    Attributes:
        sheet: PNG with pictures of the episode.
        frames: How many at most.
        plot: PNG with actions, states and reward over time.
        video: MP4 of the cameras.
    """

    sheet: str | None = None
    frames: int = 40
    plot: str | None = None
    video: str | None = None

    def __post_init__(self) -> None:
        """Refuse a sheet without pictures."""
        if self.frames < 1:
            raise ValueError(f"frames {self.frames} must be at least 1")


def run(words: list[str]) -> int:
    """Inspect.

    Returns:
        0 for a whole episode, 1 for what is left of one.

    Raises:
        InputError: The file is no episode, or nothing of it can be read.
    """
    paths, rest = split_words(words)
    options = read_options(InspectOptions, rest, "episodes inspect")
    recording = examine(one_file(paths, "inspect"), images=bool(options.sheet or options.video))
    if recording.episode is None:
        raise InputError(f"{recording.path}: {recording.fault}")
    made = _draw(recording.episode, recording.path, options)
    console = make_console()
    if recording.fault:
        console.print(f"[yellow]Not a whole episode: {escape(recording.fault)}[/]", soft_wrap=True)
    _print_metadata(console, recording, recording.episode)
    _print_topics(console, recording)
    _print_times(console, recording.episode)
    _print_ranges(console, recording.episode)
    if made:
        console.print(f"\nWritten: {', '.join(made)}", soft_wrap=True)
    return FAILED if recording.fault else DONE


def _print_metadata(console: Console, recording: Recording, episode: Episode) -> None:
    metadata = episode.metadata
    acted = Counter(episode.provenance.tolist())
    size_kb = recording.path.stat().st_size / 1e3
    rows = {
        "file": f"{recording.path}, {size_kb:,.0f} kB",
        "task": task_name(metadata),
        "robot": f"{metadata.robot}, joints {', '.join(metadata.joint_names)}",
        "operator": metadata.operator,
        "recorded": metadata.recorded_at,
        "seed": metadata.seed,
        "length": f"{len(episode.actions)} steps, {episode.elapsed_s[-1]:.2f} s",
        "result": f"{outcome(episode)}, {_ending(episode)}, return {episode.rewards.sum():g}",
        "acted": ", ".join(f"{who} {count} steps" for who, count in sorted(acted.items())),
        "software": ", ".join(f"{name} {version}" for name, version in sorted(metadata.software.items())),
    }
    table = make_table("", "what", "value")
    table.show_header = False
    for name, value in rows.items():
        table.add_row(name, escape(str(value)))
    console.print(table)


def _ending(episode: Episode) -> str:
    if episode.terminated[-1]:
        return "terminated"
    return "truncated" if episode.truncated[-1] else "neither terminated nor truncated"


def _print_topics(console: Console, recording: Recording) -> None:
    table = make_table("\nTopics", "topic", "type", ">messages", ">rate [Hz]", ">longest gap [s]")
    for topic, messages in sorted(recording.log.messages.items()):
        table.add_row(escape(topic), messages[0].type_name, str(len(messages)), *_rate(messages))
    console.print(table)


def _rate(messages: list[LoggedMessage]) -> tuple[str, str]:
    """Mean rate and longest gap, if there is more than one instant."""
    stamps_s = np.array([message.stamp_ns for message in messages]) * 1e-9
    duration_s = float(stamps_s[-1] - stamps_s[0])
    if duration_s <= 0.0:
        return "", ""
    return f"{(len(messages) - 1) / duration_s:.2f}", f"{np.diff(stamps_s).max():.3f}"


def _print_times(console: Console, episode: Episode) -> None:
    """Say where time is missing, and where the robot was not measured anew."""
    expected_s = period_s(episode)
    found = gaps(episode.elapsed_s, expected_s)
    console.print(f"\nTime: a step of {expected_s:g} s is expected; {len(found)} took more than 1.5 of it")
    for gap in found[:_MOST_GAPS]:
        console.print(f"  {gap.seconds:.3f} s before the instant {gap.step}")
    if len(found) > _MOST_GAPS:
        console.print(f"  and {len(found) - _MOST_GAPS} more")
    if count := repeated(episode.elapsed_s):
        console.print(f"  {count} instants have the stamp of the one before: their state is not a new one")


def _print_ranges(console: Console, episode: Episode) -> None:
    columns = ("entry", ">lowest", ">mean", ">highest", ">deviation")
    table = make_table("\nState, in the units of its observables", *columns)
    for name, values in zip(episode.metadata.state_names, state_in_units(episode).T, strict=True):
        table.add_row(escape(name), *_range(values))
    console.print(table)
    table = make_table("\nActions, as executed", *columns, ">at a bound")
    names = action_names(episode.metadata)
    for name, values, share in zip(names, episode.actions.T, saturation(episode.actions), strict=True):
        table.add_row(name, *_range(values), f"{share:.0%}")
    console.print(table)


def _range(values: NDArray[Any]) -> list[str]:
    return [f"{value:.4f}" for value in (values.min(), values.mean(), values.max(), values.std())]


def _draw(episode: Episode, path: Path, options: InspectOptions) -> list[str]:
    """Make the pictures that were asked for, and say which."""
    title = f"{task_name(episode.metadata)}  {path.name}"
    if options.sheet:
        contact_sheet(episode, Path(options.sheet), options.frames)
    if options.plot:
        plot(episode, Path(options.plot), f"{title}: {outcome(episode)}, return {episode.rewards.sum():g}")
    if options.video:
        film(episode, Path(options.video), path.stem)
    return [target for target in (options.sheet, options.plot, options.video) if target]
