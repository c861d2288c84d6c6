"""`journeyman runs`: the runs below a folder, one line each: what they learned, how far they came, how they ended."""

import argparse
import fcntl
import json
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.markup import escape

from agent.config import Config, InputError
from agent.journal import JournalReader
from journeyman.compared_runs import runs_in, worst_agents
from journeyman.config import RunConfig
from journeyman.episodes.words import make_console, make_table, split_words, write_json
from journeyman.options import read_options
from journeyman.run_directory import RunDirectory

_COLUMNS = ("run", "task", "algorithm", ">seed", ">steps", "best evaluation", "report", "ended")
# Of a log: its last entry is shorter, but for tracebacks, of which the message suffices.
_TAIL_BYTES = 16_384


class RunsOptions(Config):
    """Options of `journeyman runs`.

    Attributes:
        json: File to write the same to, or `-` for standard output instead of the table.
    """

    json: str | None = None


def run(options: argparse.Namespace) -> int:
    """List the runs below folders, `runs` if none is named.

    Raises:
        InputError: A folder does not exist, or nothing below it is a run.
    """
    folders, rest = split_words(options.words)
    chosen = read_options(RunsOptions, rest, "runs")
    lines = [line_of(path) for path in _find(folders or [Path("runs")])]
    if chosen.json is not None:
        write_json({"runs": lines}, chosen.json)
    if chosen.json != "-":
        _print(lines)
    return 0


def line_of(path: Path) -> dict[str, Any]:
    """What is known of one run, as plain data; with `fault` instead where it cannot be read."""
    try:
        directory, config = RunDirectory.open(path, [])
        entries = JournalReader(directory.journal).new()
        steps = _steps(entries)
        best = _best(entries, len(config.practice.agents))
        success = _reported(directory)
    except (InputError, OSError, ValueError, KeyError, TypeError) as error:
        return {"run": _shown(path), "fault": f"{error}"}
    return {
        "run": _shown(path),
        "task": config.task.name,
        "algorithm": config.algorithm.name,
        "seed": config.seed,
        "steps": steps,
        "planned_steps": config.learner.max_environment_steps,
        "best_evaluation": best,
        "success_rate": success,
        "ended": _ended(directory, config, entries, success is not None),
    }


def _find(folders: Sequence[Path]) -> list[Path]:
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"There is no folder {folder}; name one in which journeyman train made runs.")
    found = list(dict.fromkeys(path for folder in folders for path in runs_in(folder)))
    if not found:
        names = ", ".join(map(str, folders))
        raise InputError(f"There is no run in {names}; begin one with journeyman train task=reach.")
    return found


def _shown(path: Path) -> str:
    """As one would type it here."""
    with suppress(ValueError):
        return str(path.relative_to(Path.cwd().resolve()))
    return str(path)


def _best(entries: Sequence[Mapping[str, Any]], agents: int) -> dict[str, Any] | None:
    """The best evaluation on the way, the newest of equal ones; of several agents by the worst of them."""
    points = worst_agents([entry for entry in entries if entry["kind"] == "evaluation"], agents)
    if not points:
        return None
    best = max(points, key=lambda point: (point.score, point.step))
    return {"success_rate": best.score, "episodes": best.episodes, "steps": best.step}


def _reported(directory: RunDirectory) -> float | None:
    """Success rate of the report; None where there is none."""
    try:
        return float(json.loads((directory.report / "summary.json").read_text())["success_rate"])
    except FileNotFoundError:
        return None


def _steps(entries: Sequence[Mapping[str, Any]]) -> int:
    return max((e["environment_steps"] for e in entries if e["kind"] == "learner"), default=0)


def _ended(
    directory: RunDirectory, config: RunConfig, entries: Sequence[Mapping[str, Any]], is_reported: bool
) -> str:
    if _is_in_use(directory.path / "lock"):
        return "runs"
    has_all = _steps(entries) >= config.learner.max_environment_steps and _is_past_offline(entries)
    if has_all and directory.has_policies(config.practice.agents):
        return "complete" if is_reported else "complete, without a report"
    logs = [directory.logs / "train.jsonl", directory.logs / "learner.jsonl"]
    logs += sorted(directory.logs.glob("actor.*.jsonl"))
    failures = [failure for log in logs if (failure := _failure(log))]
    return f"failed: {failures[0]}" if failures else "stopped"


def _is_past_offline(entries: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every learner made the last of its offline updates; those of an agent stand in its own entries."""
    counts = {e.get("agent"): e.get("offline", (0, 0)) for e in entries if e["kind"] == "learner"}
    return all(done >= wanted for done, wanted in counts.values())


def _is_in_use(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _failure(log: Path) -> str | None:
    """What ended a process, if that is its log's last word and no interruption."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            last = json.loads(file.read().splitlines()[-1])
        if last["logger"] == "end" and last["level"] == "CRITICAL":
            return str(last["message"])
    except (OSError, ValueError, LookupError, TypeError):
        pass  # A log is no reason to hide a run.
    return None


def _print(lines: Sequence[Mapping[str, Any]]) -> None:
    console = make_console()
    table = make_table("", *_COLUMNS)
    for line in lines:
        if "fault" not in line:
            table.add_row(*map(escape, _cells(line)))
    if table.row_count:
        console.print(table)
    for line in lines:
        if "fault" in line:
            console.print(f"[yellow]{escape(line['run'])}[/]: {escape(line['fault'])}", soft_wrap=True)


def _cells(line: Mapping[str, Any]) -> tuple[str, ...]:
    best, success = line["best_evaluation"], line["success_rate"]
    return (
        line["run"],
        line["task"],
        line["algorithm"],
        str(line["seed"]),
        f"{line['steps']:,} of {line['planned_steps']:,}",
        f"{best['success_rate']:.0%} at {best['steps']:,}" if best else "-",
        "-" if success is None else f"{success:.0%}",
        line["ended"],
    )
