"""The figures of a comparison: sample efficiency, performance profile, probability of improvement."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from journeyman.comparison import THRESHOLDS, Comparison, GroupResult, OverTasks
from journeyman.statistics import FEWEST_SEEDS, Estimate

# Okabe and Ito's, which colour-blind people tell apart, without black and the yellow that paper swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_LINES: tuple[Any, ...] = ("-", "--", ":", "-.")
_MARKERS = ("o", "s", "^", "D")
_DPI = 150
_PANEL_INCHES = (5.2, 3.6)
_MOST_COLUMNS = 3


class _Look(NamedTuple):
    """How an algorithm is drawn, in every figure the same."""

    color: str
    linestyle: Any
    marker: str


def write_plots(comparison: Comparison, folder: Path) -> list[str]:
    """Draw what there is to draw; returns the names of the files.

    Raises:
        OSError: They cannot be written.
    """
    looks = _looks(sorted({one.algorithm for one in comparison.groups}))
    figures = {"sample_efficiency.png": _sample_efficiency(comparison.groups, looks)}
    over = comparison.over_tasks
    if over.tasks:
        figures["performance_profile.png"] = _performance_profile(over, looks)
    if over.improvements:
        figures["probability_of_improvement.png"] = _improvements(over, looks)
    for name, figure in figures.items():
        figure.savefig(folder / name, bbox_inches="tight")
    return list(figures)


def _looks(labels: Sequence[str]) -> dict[str, _Look]:
    """Colours first; where those are used up, other lines and markers."""
    found = {}
    for index, label in enumerate(labels):
        again, colour = divmod(index, len(_COLOURS))
        found[label] = _Look(_COLOURS[colour], _LINES[again % len(_LINES)], _MARKERS[again % len(_MARKERS)])
    return found


def _sample_efficiency(groups: Sequence[GroupResult], looks: dict[str, _Look]) -> Any:
    """IQM of success over environment steps, a panel for each task."""
    tasks = sorted({one.task for one in groups})
    columns = min(_MOST_COLUMNS, len(tasks))
    rows = math.ceil(len(tasks) / columns)
    size = (columns * _PANEL_INCHES[0], rows * _PANEL_INCHES[1])
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False)
    for axes, task in zip(panels.flat, tasks, strict=False):
        for one in (one for one in groups if one.task == task):
            _curve(axes, one, looks[one.algorithm])
        axes.set_title(task, loc="left")
        axes.set(xlabel="environment steps", ylabel="success (%)", ylim=(-3, 103))
        axes.xaxis.set_major_formatter(lambda steps, _: f"{steps:,.0f}")
        axes.grid(alpha=0.25)
    for axes in panels.flat[len(tasks) :]:
        axes.set_visible(False)
    _legend(figure, panels.flat[0], looks)
    figure.suptitle(
        "IQM over seeds, bands are 95 % bootstrap intervals" + _without_bands(groups), fontsize=10
    )
    return figure


def _curve(axes: Any, one: GroupResult, look: _Look) -> None:
    steps = [point.step for point in one.curve]
    _band(axes, steps, [point.success for point in one.curve], look)
    if len(steps) == 1:  # A band of one point is nothing to see.
        success = one.curve[0].success
        low, high = _ends(success)
        axes.vlines(steps, 100 * low, 100 * high, color=look.color, linewidth=4, alpha=0.3)


def _without_bands(groups: Sequence[GroupResult]) -> str:
    """A line about those that have too few seeds for any."""
    few = sorted({f"{one.algorithm} on {one.task}" for one in groups if len(one.seeds) < FEWEST_SEEDS})
    return f"\nno bands, too few seeds: {', '.join(few)}" if few else ""


def _performance_profile(over: OverTasks, looks: dict[str, _Look]) -> Any:
    """Share of runs with more success than a threshold."""
    figure = Figure(figsize=_PANEL_INCHES, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    for label, profile in over.profiles.items():
        _band(axes, list(100 * THRESHOLDS), profile, looks[label], steps=True)
    few = [label for label, profile in over.profiles.items() if profile[0].low is None]
    note = f"\nno band, too few seeds: {', '.join(few)}" if few else ""
    axes.set(xlabel="success of a run above (%)", ylabel="share of runs (%)", xlim=(0, 100), ylim=(-3, 103))
    axes.set_title(_shown(over.tasks) + note, loc="left", fontsize=10)
    axes.grid(alpha=0.25)
    _legend(figure, axes, {label: looks[label] for label in over.profiles})
    return figure


def _improvements(over: OverTasks, looks: dict[str, _Look]) -> Any:
    """A line for each pair, whose ends are named on both sides."""
    pairs = over.improvements
    size = (_PANEL_INCHES[0] + 1.5, 1.1 + 0.42 * len(pairs))
    figure = Figure(figsize=size, dpi=_DPI, layout="constrained")
    axes = figure.subplots()
    rows = range(len(pairs))
    for row, pair in zip(rows, pairs, strict=True):
        low, high = _ends(pair.probability)
        look = looks[pair.first]
        axes.hlines(row, 100 * low, 100 * high, color=look.color, linewidth=7, alpha=0.3)
        hollow = "white" if pair.probability.low is None else look.color
        axes.plot(
            100 * pair.probability.value, row, marker=look.marker, color=look.color, markerfacecolor=hollow
        )
    axes.axvline(50, color="0.5", linewidth=1, linestyle="--")
    axes.set(
        xlim=(-3, 103), ylim=(len(pairs) - 0.4, -0.6), xlabel="probability that the left one does better (%)"
    )
    axes.set_yticks(rows, [pair.first for pair in pairs])
    for text, pair in zip(axes.get_yticklabels(), pairs, strict=True):
        text.set_color(looks[pair.first].color)
    right = axes.secondary_yaxis("right")
    right.set_yticks(rows, [pair.second for pair in pairs])
    for text, pair in zip(right.get_yticklabels(), pairs, strict=True):
        text.set_color(looks[pair.second].color)
    hollow_means = (
        "\nhollow: no interval can be given" if any(p.probability.low is None for p in pairs) else ""
    )
    axes.set_title(_shown(over.tasks) + hollow_means, loc="left", fontsize=10)
    axes.grid(alpha=0.25, axis="x")
    return figure


def _band(
    axes: Any, x: Sequence[float], estimates: Sequence[Estimate], look: _Look, steps: bool = False
) -> None:
    """A line with a band, which has no width where there is no interval."""
    ends = [_ends(estimate) for estimate in estimates]
    low, high = [100 * end for end, _ in ends], [100 * end for _, end in ends]
    step = "post" if steps else None
    axes.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0, step=step)
    values = [100 * estimate.value for estimate in estimates]
    drawn = {
        "color": look.color,
        "linestyle": look.linestyle,
        "drawstyle": "steps-post" if steps else "default",
    }
    axes.plot(x, values, marker=None if steps else look.marker, markersize=4, **drawn)


def _ends(estimate: Estimate) -> tuple[float, float]:
    """Of its interval; where there is none, of nothing."""
    if estimate.low is None or estimate.high is None:
        return estimate.value, estimate.value
    return estimate.low, estimate.high


def _shown(tasks: Sequence[str]) -> str:
    return f"final success on {', '.join(tasks)}; 95 % bootstrap intervals"


def _legend(figure: Any, axes: Any, looks: dict[str, _Look]) -> None:
    """Below the figure, where it hides nothing."""
    handles = [
        axes.plot([], [], color=look.color, linestyle=look.linestyle, marker=look.marker, markersize=4)[0]
        for look in looks.values()
    ]
    columns = 1 if max(map(len, looks)) > 30 else min(3, len(looks))
    figure.legend(handles, list(looks), loc="outside lower center", ncols=columns, frameon=False)
