"""`journeyman episodes list DIR...`: one line per file, whole or not."""

from typing import Any

from rich.markup import escape

from agent.config import Config
from journeyman.episodes.description import outcome, task_name
from journeyman.episodes.recordings import Recording, examine, find_files
from journeyman.episodes.words import make_console, make_table, split_words, write_json
from journeyman.options import read_options

_COLUMNS = (
    "file",
    "task",
    "robot",
    "operator",
    ">steps",
    ">seconds",
    "result",
    ">human",
    "cameras",
    "recorded",
)


class ListOptions(Config):
    """Options of `journeyman episodes list`.

    Attributes:
        json: File to write the same to, or `-` for standard output instead of the table.
    """

    json: str | None = None


def run(words: list[str]) -> int:
    """List.

    Raises:
        InputError: A path does not exist.
    """
    paths, rest = split_words(words)
    options = read_options(ListOptions, rest, "episodes list")
    recordings = [examine(path) for path in find_files(paths, "list")]
    content = {"episodes": [_line(one) for one in recordings], "totals": _totals(recordings)}
    if options.json is not None:
        write_json(content, options.json)
    if options.json != "-":
        _print(content)
    return 0


def _line(recording: Recording) -> dict[str, Any]:
    """What is known of one file, as plain data."""
    if recording.episode is None:
        return {"file": str(recording.path), "fault": recording.fault}
    episode, metadata = recording.episode, recording.episode.metadata
    return {
        "file": str(recording.path),
        "task": task_name(metadata),
        "robot": metadata.robot,
        "operator": metadata.operator,
        "steps": len(episode.actions),
        "seconds": round(float(episode.elapsed_s[-1]), 3),
        "result": outcome(episode),
        "human": float(episode.intervened.mean()),
        "cameras": list(recording.cameras),
        "recorded": metadata.recorded_at,
        "seed": metadata.seed,
        "fault": recording.fault,
    }


def _totals(recordings: list[Recording]) -> dict[str, Any]:
    """Sums over the whole episodes; how many files are none."""
    whole = [one.episode for one in recordings if one.episode is not None and not one.fault]
    steps = sum(len(episode.actions) for episode in whole)
    return {
        "episodes": len(whole),
        "successes": sum(bool(episode.success) for episode in whole),
        "steps": steps,
        "seconds": round(sum(float(episode.elapsed_s[-1]) for episode in whole), 3),
        "human": sum(int(episode.intervened.sum()) for episode in whole) / max(1, steps),
        "not_whole": sum(bool(one.fault) and one.episode is not None for one in recordings),
        "unreadable": sum(one.episode is None for one in recordings),
    }


def _print(content: dict[str, Any]) -> None:
    console = make_console()
    table = make_table("", *_COLUMNS)
    for line in content["episodes"]:
        if "steps" not in line:
            continue
        cells = {
            **line,
            "seconds": f"{line['seconds']:.1f}",
            "human": f"{line['human']:.0%}",
            "cameras": ", ".join(line["cameras"]),
            "recorded": line["recorded"][:19].replace("T", " "),
        }
        table.add_row(*(escape(str(cells[column.removeprefix(">")])) for column in _COLUMNS))
    if table.row_count:
        console.print(table)
    for line in content["episodes"]:
        if line["fault"]:
            console.print(f"[yellow]{escape(line['file'])}[/]: {escape(line['fault'])}", soft_wrap=True)
    totals = content["totals"]
    console.print(
        f"{totals['episodes']} whole episodes, {totals['successes']} of them successes: {totals['steps']:,} steps, "
        f"{totals['seconds']:,.1f} s, {totals['human']:.0%} by a human. Besides: {totals['not_whole']} unfinished or "
        f"damaged, {totals['unreadable']} unreadable.",
        soft_wrap=True,
    )
