"""What people look at of one episode: a contact sheet, curves over time, a film."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from agent.config import InputError
from journeyman.episodes.description import (
    action_names,
    period_s,
    short_name,
    state_groups,
    state_in_units,
    unit_of,
)
from journeyman.video import Film
from reward_models.success_classifier.pictures import side_by_side, write_sheet
from robot_env.episode import Episode

_FILM_HEIGHT = 360
_ROW_HEIGHT_IN, _WIDTH_IN = 1.5, 10.0


def contact_sheet(episode: Episode, path: Path, frames: int) -> None:
    """At most `frames` pictures, evenly over the episode, all cameras side by side, as a PNG.

    Raises:
        InputError: The episode has no cameras.
    """
    last = len(episode.actions)
    steps = np.unique(np.linspace(0, last, frames).round().astype(int)).tolist()
    tiles = [_picture(episode, step) for step in steps]
    verdicts = [""] * len(steps)
    if episode.success is not None:
        verdicts[-1] = "success" if episode.success else "failure"
    said = [" human" if step and episode.intervened[step - 1] else "" for step in steps]
    captions = [f"{k}  {episode.elapsed_s[k]:.1f} s{who}" for k, who in zip(steps, said, strict=True)]
    write_sheet(path, tiles, captions, verdicts)


def film(episode: Episode, path: Path, caption: str) -> None:
    """All pictures at the rate of the task, as MP4.

    Raises:
        InputError: The episode has no cameras.
    """
    shots = Film(path, 1.0 / period_s(episode))
    try:
        for step, elapsed_s in enumerate(episode.elapsed_s):
            picture = _picture(episode, step, _FILM_HEIGHT)
            even = picture[:, : picture.shape[1] // 2 * 2]
            done = bool(episode.success) and step == len(episode.actions)
            shots.add_frame(np.ascontiguousarray(even), f"{caption}  {step}  {elapsed_s:.1f} s", done)
    finally:
        shots.close()


def _picture(episode: Episode, step: int, height: int | None = None) -> NDArray[np.uint8]:
    cameras = [name for name in sorted(episode.observations) if name != "state"]
    if not cameras:
        raise InputError(
            "The episode has no images: leave out sheet= and video=, or record with task.cameras."
        )
    frames = [episode.observations[name][step] for name in cameras]
    if height is None:
        return side_by_side(frames)
    # Small pictures stay sharp when they grow, so that one sees what the learner saw.
    grown = [
        cv2.resize(
            f, (max(2, round(f.shape[1] * height / f.shape[0])), height), interpolation=cv2.INTER_NEAREST
        )
        for f in frames
    ]
    return np.concatenate(grown, axis=1)


def plot(episode: Episode, path: Path, title: str) -> None:
    """Actions, every observable and the reward over time, as a PNG. What a human did is shaded."""
    groups = state_groups(episode.metadata)
    values = state_in_units(episode)
    rows = 2 + len(groups)
    size = (_WIDTH_IN, 0.8 + _ROW_HEIGHT_IN * rows)
    figure = Figure(figsize=size, dpi=110)
    axes = figure.subplots(rows, 1, sharex=True, squeeze=False)
    column = axes[:, 0]
    elapsed_s = episode.elapsed_s
    for name, entry in zip(action_names(episode.metadata), episode.actions.T, strict=True):
        # An action holds until the next instant.
        column[0].step(elapsed_s, np.append(entry, entry[-1]), where="post", linewidth=1, label=name)
    column[0].set(ylabel="action", ylim=(-1.08, 1.08))
    for one, (name, entries) in zip(column[1:-1], groups.items(), strict=True):
        for index in entries:
            label = short_name(episode.metadata.state_names[index], len(entries))
            one.plot(elapsed_s, values[:, index], linewidth=1, label=label)
        unit = unit_of(name)
        one.set_ylabel(name.replace("_", "\n") + (f" [{unit}]" if unit else ""))
    column[-1].step(elapsed_s[1:], episode.rewards, where="mid", linewidth=1, marker=".")
    column[-1].set(ylabel="reward", xlabel="time [s]")
    for one in column:
        _finish(one, episode)
    figure.suptitle(title, fontsize=10, x=0.02, ha="left")
    figure.align_ylabels(column)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)


def _finish(axes: Any, episode: Episode) -> None:
    """Grid, legend beside the curves if there is a choice, and shades where a human acted."""
    axes.grid(alpha=0.25)
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        axes.legend(handles, labels, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8)
    elapsed_s = episode.elapsed_s
    for step in np.flatnonzero(episode.intervened).tolist():
        axes.axvspan(elapsed_s[step], elapsed_s[step + 1], color="tab:orange", alpha=0.15, linewidth=0)
