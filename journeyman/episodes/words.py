"""What the actions share in words and output: paths and key=value in, tables and JSON out."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agent.config import InputError
from agent.storage import write_atomically

_OPTION = re.compile(r"[A-Za-z_][\w.]*=.*", re.DOTALL)
# Of output that goes into a file or another program, which no screen limits.
_WIDE = 240


def split_words(words: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Paths, and `key=value` words."""
    options = [word for word in words if _OPTION.fullmatch(word)]
    return [Path(word) for word in words if not _OPTION.fullmatch(word)], options


def one_file(paths: Sequence[Path], action: str) -> Path:
    """The one path that an action takes.

    Raises:
        InputError: There is none, or there are several.
    """
    if len(paths) != 1:
        raise InputError(
            f"journeyman episodes {action} takes one file, not {len(paths)}; write journeyman episodes {action} "
            "DIR/0000.mcap."
        )
    return paths[0]


def make_console() -> Console:
    """Standard output, as wide as it is or, where nobody's screen limits it, as wide as a table needs."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def make_table(title: str, *columns: str) -> Table:
    """An empty table. Columns that begin with `>` hold numbers; the first and those keep their whole width."""
    table = Table(title=title or None, title_justify="left", box=None, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        is_number = column.startswith(">")
        justify: Literal["right", "left"] = "right" if is_number else "left"
        table.add_column(escape(column.removeprefix(">")), justify=justify, no_wrap=is_number or number == 0)
    return table


def write_json(content: Any, target: str) -> None:
    """Write `content` to the file `target`, whole or not at all; `-` is standard output.

    Raises:
        InputError: It cannot be written.
    """
    text = msgspec.json.format(msgspec.json.encode(content), indent=1)
    if target == "-":
        print(text.decode())
        return
    path = Path(target)
    try:
        write_atomically(path, text + b"\n")
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}; choose another.") from None
