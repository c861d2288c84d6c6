"""`journeyman episodes merge DIR... into=DIR`: one folder of several, every recording once."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape

from agent.config import Config
from journeyman.episodes.arrangement import Gathering, Source, assemble, gather
from journeyman.episodes.words import make_console, make_table, split_words
from journeyman.options import read_options


class MergeOptions(Config):
    """Options of `journeyman episodes merge`.

    Attributes:
        into: The new folder.
    """

    into: str


def run(words: list[str]) -> int:
    """Merge.

    Raises:
        InputError: A path does not exist, no episode is whole, or the new folder cannot be made.
    """
    paths, rest = split_words(words)
    options = read_options(MergeOptions, rest, "episodes merge")
    found = gather(paths, "merge")
    parts = {Path(options.into): found.sources}
    assemble(parts)
    describe(found, parts)
    return 0


def describe(found: Gathering, parts: Mapping[Path, Sequence[Source]]) -> None:
    """Say what was left out or taken once, and what is where now."""
    console = make_console()
    for one in found.faulty:
        console.print(f"[yellow]left out: {escape(str(one.path))}[/]: {escape(one.fault)}", soft_wrap=True)
    for source in found.sources:
        if len(source.same) > 1:
            same = ", ".join(map(str, source.same[1:]))
            console.print(
                f"taken once: {escape(str(source.path))}, the same as {escape(same)}", soft_wrap=True
            )
    table = make_table("", "folder", ">episodes", ">successes", ">failures", ">steps")
    for folder, sources in parts.items():
        successes = sum(source.success for source in sources)
        numbers = len(sources), successes, len(sources) - successes, sum(s.steps for s in sources)
        table.add_row(escape(str(folder)), *map(str, numbers))
    console.print(table)
