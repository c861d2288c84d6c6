"""`journeyman data check PATH`: what is in a data set that others recorded, and whether a task can learn from it."""

import argparse
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from agent.config import InputError
from agent.transition import TransitionSpec
from journeyman.config import compose
from journeyman.episodes.words import make_console, make_table, split_words, write_json
from journeyman.offline.reading import load_offline
from journeyman.offline.report import OfflineReport, check_offline
from journeyman.wiring import make_env, make_spec

# Names of constant entries that are shown; a file has them all.
_SHOWN = 12


def run(options: argparse.Namespace) -> int:
    """Check a data set; nothing is written but the file that `out=` names."""
    paths, words = split_words(options.words)
    if len(paths) != 1:
        raise InputError(
            f"journeyman data check takes one data set, not {len(paths)}; write journeyman data check data.hdf5."
        )
    outs = [word.removeprefix("out=") for word in words if word.startswith("out=")]
    overrides = [word for word in words if not word.startswith("out=")]
    data = load_offline(paths[0], _spec(overrides) if overrides else None)
    report = check_offline(data.records, data.spec, data.dropped, data.clipped)
    for out in outs:
        write_json(report, out)
    if "-" not in outs:
        _print(make_console(), paths[0], data.spec, report)
    return 0


def _spec(overrides: list[str]) -> TransitionSpec:
    """The layout of transitions of a task."""
    env = make_env(compose(overrides))
    spec = make_spec(env)
    env.close()
    return spec


def _print(console: Console, path: Path, spec: TransitionSpec, report: OfflineReport) -> None:
    table = make_table(escape(str(path)), "", "")
    for name, value in _figures(spec, report):
        table.add_row(name, escape(value))
    console.print(table)
    actions = make_table("\nActions", "entry", ">lowest", ">highest", ">at a limit")
    rows = zip(report.action_low, report.action_high, report.action_at_limits, strict=True)
    for entry, (low, high, share) in enumerate(rows):
        actions.add_row(str(entry), f"{low:.3g}", f"{high:.3g}", f"{share:.1%}")
    console.print(actions)
    for warning in report.warnings:
        console.print(f"\n[yellow]Warning:[/] {escape(warning)}")


def _figures(spec: TransitionSpec, report: OfflineReport) -> list[tuple[str, str]]:
    shapes = {key: spec.dtype[f"observation.{key}"].shape for key in spec.observation_keys}
    constant = ", ".join(report.constant[:_SHOWN]) or "none"
    if len(report.constant) > _SHOWN:
        constant += f" and {len(report.constant) - _SHOWN} more"
    quantiles = ", ".join(f"{value:.4g}" for value in report.returns.values())
    ends = f"{report.terminated_share:.2%} terminate, {report.truncated_share:.2%} cut an episode"
    return [
        ("observations", ", ".join(f"{key} {list(shape)}" for key, shape in shapes.items())),
        ("transitions", f"{report.transitions}: {ends}"),
        ("episodes", f"{report.episodes}: {report.timeout_share:.1%} end by a time-out or with the data"),
        ("successes", f"{report.successes}, as far as rewards tell"),
        ("dropped", f"{report.dropped} steps, of which nobody knows what they led to"),
        ("clipped", f"{report.clipped} actions, beyond their bounds by rounding"),
        ("rewards", f"{report.reward_low:.4g} to {report.reward_high:.4g}"),
        ("returns", f"{quantiles} (quantiles {', '.join(report.returns)} of episodes)"),
        ("constant observations", constant),
        ("duplicate episodes", str(report.duplicates)),
    ]
