"""`journeyman compare RUNS...`: which algorithm is better, how sure that is, and which seeds would tell."""

import argparse
import csv
import io
from collections.abc import Sequence
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape

from agent.config import InputError
from agent.storage import write_atomically
from journeyman.adastop import AdaStopConfig
from journeyman.compared_runs import Group, find_runs, group, read_runs
from journeyman.comparison import Comparison, compare
from journeyman.comparison_plots import write_plots
from journeyman.comparison_tables import Section, markdown, sections
from journeyman.episodes.words import make_console, make_table, split_words
from journeyman.options import read_options

_COLUMNS = ("task", "algorithm", "seed", "step", "score", "successes", "episodes")


class CompareOptions(AdaStopConfig):
    """Options of `journeyman compare`: the plan of AdaStop, and where the results go.

    Attributes:
        out: Folder of tables, plots and results.
    """

    out: str = "compare"


def run(options: argparse.Namespace) -> int:
    """Compare, print and write.

    Raises:
        InputError: The runs cannot be found, read or told apart, or the folder cannot be written.
    """
    paths, words = split_words(options.words)
    chosen = read_options(CompareOptions, words, "compare")
    plan = AdaStopConfig(**{name: getattr(chosen, name) for name in AdaStopConfig.__struct_fields__})
    runs, left_out = read_runs(find_runs([str(path) for path in paths]))
    groups = group(runs)
    comparison = compare(groups, plan, left_out)
    found = sections(comparison)
    console = make_console()
    for section in found:
        _print(console, section)
    names = write(groups, comparison, found, Path(chosen.out))
    console.print(f"Written to {escape(chosen.out)}/: {', '.join(names)}", soft_wrap=True)
    return 0


def write(
    groups: Sequence[Group], comparison: Comparison, found: Sequence[Section], folder: Path
) -> list[str]:
    """Write everything; returns the names of the files.

    Raises:
        InputError: The folder cannot be written.
    """
    content = {
        "table.md": markdown(found).encode(),
        "results.csv": _rows(groups).encode(),
        "compare.json": msgspec.json.format(msgspec.json.encode(comparison), indent=1) + b"\n",
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, bytes_ in content.items():
            write_atomically(folder / name, bytes_)
        return [*content, *write_plots(comparison, folder)]
    except OSError as error:
        raise InputError(
            f"{folder} cannot be written: {error.strerror}; choose another with out=DIR."
        ) from None


def _rows(groups: Sequence[Group]) -> str:
    """Every evaluation of every run; the last of a run is its final one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for one in groups:
        for each in one.runs:
            for point in each.curve:
                score = round(point.score, 6)
                counts = (point.successes, point.episodes)
                writer.writerow((one.task, one.label, each.config.seed, point.step, score, *counts))
    return text.getvalue()


def _print(console: Console, section: Section) -> None:
    if section.columns:
        table = make_table(section.title, *section.columns)
        for row in section.rows:
            table.add_row(*map(escape, row))
        console.print(table)
    else:
        console.print(f"[italic]{escape(section.title)}[/italic]")
    for note in section.notes:
        console.print(escape(note), style="dim")
    for command in section.commands:
        console.print(f"  {escape(command)}", soft_wrap=True)  # Whole, to be copied.
    console.print()
