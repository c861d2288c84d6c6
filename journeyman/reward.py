"""`journeyman reward fit | check`: make a success classifier from labelled episodes, and measure one on others."""

import argparse
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from agent.config import Config, InputError
from journeyman.options import read_options
from reward_models.success_classifier.classifier import SuccessClassifier, load_classifier
from reward_models.success_classifier.fitting import Fit, FitConfig, fit
from reward_models.success_classifier.frames import Frames, read_frames, sample, views_of
from reward_models.success_classifier.measurement import Measurement, measure, worst_errors
from reward_models.success_classifier.pictures import error_sheet, plot
from reward_models.success_classifier.preprocessing import Preprocessing
from robot_env.episodes import read_episode

_WORST = 40


class FitOptions(FitConfig, kw_only=True):
    """Options of `journeyman reward fit`: those of the fit, and these.

    Attributes:
        data: Folder, or folders, of labelled episodes.
        out: The classifier's file.
        cameras: Which to look at; all that were recorded if empty.
        crops: By camera: top, left, height, width in pixels.
        size: Side of the square that every crop is scaled to, pixels.
        state: Entries of the `state` vector to see besides, such as `gripper_width`.
        max_success: Most frames of success that are used, at random; 0 means all.
        max_failure: Most frames of failure.
        needed: K of the K-of-N votes that episodes are measured with.
        window: N.
    """

    data: str | tuple[str, ...]
    out: str
    cameras: tuple[str, ...] = ()
    crops: dict[str, tuple[int, int, int, int]] = {}
    size: int = 64
    state: tuple[str, ...] = ()
    max_success: int = 0
    max_failure: int = 0
    needed: int = 2
    window: int = 3

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        super().__post_init__()
        if min(self.max_success, self.max_failure) < 0:
            raise ValueError(
                f"max_success {self.max_success} and max_failure {self.max_failure} must not be negative"
            )


class CheckOptions(Config):
    """Options of `journeyman reward check`.

    Attributes:
        model: File that `journeyman reward fit` made.
        data: Folder, or folders, of labelled episodes; best such as the fit has not seen.
        out: Folder for pictures and numbers; beside the model if None.
        threshold: Replaces the file's own.
        needed: K of the K-of-N votes that episodes are measured with.
        window: N.
    """

    model: str
    data: str | tuple[str, ...]
    out: str | None = None
    threshold: float | None = None
    needed: int = 2
    window: int = 3


def run(options: argparse.Namespace) -> int:
    """Fit or check."""
    torch.set_num_threads(1)  # Two threads of torch beside other load collapse.
    {"fit": _fit, "check": _check}[options.action](options.overrides)
    return 0


def _fit(words: list[str]) -> None:
    """Fit, save, and show what the held-out episodes say."""
    options = read_options(FitOptions, words, "reward fit")
    folders, out = _folders(options.data), Path(options.out)
    try:
        preprocessing = Preprocessing(
            cameras=views_of(folders, options.cameras, options.crops),
            size=options.size,
            state_names=options.state,
        )
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{error}.") from None
    everything = read_frames(folders, preprocessing)
    frames = sample(everything, options.max_success, options.max_failure, np.random.default_rng(options.seed))
    task = str(read_episode(Path(frames.names[0])).metadata.task.get("name", ""))
    with Progress(transient=True, console=Console(stderr=True)) as progress:
        bar = progress.add_task("fitting", total=options.epochs)
        made = fit(
            frames, preprocessing, options, task, lambda epoch, _: progress.update(bar, completed=epoch)
        )
    made.classifier.save(out)
    folder = out.with_name(f"{out.stem}_fit")
    measured = _show(made.classifier, made.held_out, None, options.needed, options.window, folder)
    _summarise(made, measured, len(frames) == len(everything), out, folder)


def _check(words: list[str]) -> None:
    """Measure a classifier on labelled episodes."""
    options = read_options(CheckOptions, words, "reward check")
    model = Path(options.model)
    classifier = load_classifier(model)
    frames = read_frames(_folders(options.data), classifier.card.preprocessing)
    folder = Path(options.out) if options.out else model.with_name(f"{model.stem}_check")
    measured = _show(classifier, frames, options.threshold, options.needed, options.window, folder)
    console = Console()
    successes, failures = frames.counts()
    episodes = len(set(frames.episode.tolist()))
    known = {
        Path(name).resolve() for part in ("fitted", "held_out") for name in _fit_episodes(classifier, part)
    }
    seen = sum(Path(frames.names[number]).resolve() in known for number in set(frames.episode.tolist()))
    console.print(
        f"{model}: {successes} successes and {failures} failures of {episodes} episodes.", soft_wrap=True
    )
    if seen:
        console.print(
            f"[yellow]{seen} of these episodes were used in the fit: the figures flatter it.", soft_wrap=True
        )
    console.print(_table(measured))
    console.print(f"In {folder}: measurement.json, curves.png, errors.png", soft_wrap=True)


def _show(
    classifier: SuccessClassifier,
    frames: Frames,
    threshold: float | None,
    needed: int,
    window: int,
    folder: Path,
) -> Measurement:
    """Measure, and write numbers and pictures to `folder`."""
    threshold = classifier.card.threshold if threshold is None else threshold
    judged = classifier.judge(frames.inputs)
    measured = measure(frames, judged.probability, judged.novelty, threshold, needed, window)
    successes, failures = frames.counts()
    title = f"{classifier.card.task}: {successes} successes, {failures} failures, threshold {threshold:.3f}"
    folder.mkdir(parents=True, exist_ok=True)
    plot(frames, judged.probability, measured, title, folder / "curves.png")
    worst = worst_errors(frames, judged.probability, threshold, _WORST)
    error_sheet(frames, judged.probability, worst, folder / "errors.png")
    content = {"card": msgspec.to_builtins(classifier.card), "measurement": msgspec.to_builtins(measured)}
    (folder / "measurement.json").write_bytes(msgspec.json.format(msgspec.json.encode(content), indent=1))
    return measured


def _summarise(made: Fit, measured: Measurement, whole: bool, out: Path, folder: Path) -> None:
    """Say what came of a fit; `whole` if no frames of its episodes were left out, or votes would mean nothing."""
    console = Console()
    card = made.classifier.card
    for side in ("fitted", "held_out"):
        part = card.fit[side]
        console.print(
            f"{side.replace('_', ' ')}: {part['successes']} successes and {part['failures']} failures of "
            f"{len(part['episodes'])} episodes",
            soft_wrap=True,
        )
    console.print(
        f"best after {card.fit['epochs']} epochs; temperature {card.temperature:.2f} brings the held-out loss from "
        f"{card.fit['loss_before_calibration']:.4f} to {card.fit['loss']:.4f} nats",
        soft_wrap=True,
    )
    console.print(_table(measured, with_votes=whole))
    console.print(made.threshold.describe(card.false_positive_rate), soft_wrap=True)
    console.print(
        f"Early stopping, temperature and threshold saw these held-out episodes; for figures that they did not touch: "
        f"journeyman reward check model={out} data=OTHER_EPISODES",
        soft_wrap=True,
    )
    console.print(f"{out}; in {folder}: measurement.json, curves.png, errors.png", soft_wrap=True)


def _table(measured: Measurement, with_votes: bool = True) -> Table:
    rows: dict[str, Any] = {
        "threshold": f"{measured.threshold:.3f}",
        "false-positive rate": measured.false_positive_rate,
        "recall": measured.recall,
        "precision": measured.precision,
        "area under ROC": f"{measured.roc_area:.4f}",
        "unfamiliar frames": measured.novel,
    }
    if with_votes:
        rows["episodes ended too early by the votes"] = measured.episodes_ended_early
        rows["episodes recognised by the votes"] = measured.episodes_recognised
    table = Table.grid(padding=(0, 2))
    for name, value in rows.items():
        table.add_row(name, str(value))
    return table


def _folders(data: str | tuple[str, ...]) -> list[Path]:
    return [Path(folder) for folder in ([data] if isinstance(data, str) else data)]


def _fit_episodes(classifier: SuccessClassifier, part: str) -> list[str]:
    return list(classifier.card.fit.get(part, {}).get("episodes", []))
