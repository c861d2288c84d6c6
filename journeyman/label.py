"""`journeyman label`: say which frames of recorded episodes show success; on a page, by ranges, or from the truth."""

import argparse
import re
from collections import Counter
from pathlib import Path

from agent.config import InputError
from journeyman import spot_checks
from journeyman.label_page import LabelServer
from reward_models.success_classifier.labels import VERDICTS, LabelFile, Verdict, add_truth, user_name
from reward_models.success_classifier.pictures import side_by_side, write_sheet
from robot_env.episodes import list_episodes, read_episode

_RANGE = re.compile(r"(?P<episode>[^:]+):(?P<first>\d+)(?:-(?P<last>\d+))?=(?P<label>\w+)")


def run(options: argparse.Namespace) -> int:
    """Label the episodes of a folder."""
    labels = LabelFile(Path(options.folder))
    who = options.who or user_name()
    if options.from_truth:
        add_truth(labels)
    for word in options.ranges:
        _add_range(labels, word, who)
    paths = list_episodes(labels.folder)
    if options.spot_check is not None:
        paths = _drawn(labels, options.spot_check)
    if options.sheets:
        _write_sheets(labels, paths, Path(options.sheets))
    elif not (options.from_truth or options.ranges):
        _serve(labels, paths, who, options.port)
    print(_describe(labels))
    if (watched := spot_checks.watch(labels.folder)) is not None:
        print(spot_checks.describe(watched))
    return 0


def _drawn(labels: LabelFile, count: int) -> list[Path]:
    """The episodes to check, of which the last frame is to be labelled."""
    if count < 1:
        raise InputError(f"--spot-check {count} must be at least 1: it is the number of episodes to look at.")
    checks = spot_checks.draw(labels.folder, count)
    successes = sum(check.success for check in checks)
    print(
        f"{len(checks)} episodes to look at, {successes} of them judged successes: label the last frame of each."
    )
    return [labels.folder / check.episode for check in checks]


def _add_range(labels: LabelFile, word: str, who: str) -> None:
    """Take in a word such as `0003:12-20=success`.

    Raises:
        InputError: It cannot be read, or there are no such frames.
    """
    match = _RANGE.fullmatch(word)
    if not match or match["label"] not in VERDICTS:
        raise InputError(
            f"{word!r} cannot be read; write EPISODE:FIRST-LAST=LABEL with a label of {', '.join(VERDICTS)}, for "
            "example 0003:12-20=success."
        )
    name = match["episode"].removesuffix(".mcap") + ".mcap"
    path = labels.folder / name
    if path not in list_episodes(labels.folder):
        raise InputError(f"There is no episode {name} in {labels.folder}; look with ls.")
    first, last = int(match["first"]), int(match["last"] or match["first"])
    end = len(read_episode(path).actions)
    if not first <= last <= end:
        raise InputError(
            f"{word!r} names frames {first} to {last}, but {name} has 0 to {end}, in rising order."
        )
    verdict: Verdict = next(v for v in VERDICTS if v == match["label"])
    labels.add(name, range(first, last + 1), verdict, who)


def _write_sheets(labels: LabelFile, paths: list[Path], folder: Path) -> None:
    """One PNG per episode with all its frames, numbered, on the colours of their labels."""
    known = labels.read()
    for path in paths:
        episode = read_episode(path)
        cameras = [name for name in sorted(episode.observations) if name != "state"]
        if not cameras:
            raise InputError(f"Episode {path} has no images: record with task.cameras.")
        steps = range(len(episode.actions) + 1)
        tiles = [side_by_side([episode.observations[name][step] for name in cameras]) for step in steps]
        said = [known.get((path.name, step)) for step in steps]
        verdicts = [label.label if label else "" for label in said]
        captions = [f"{path.stem}:{step} {verdict}" for step, verdict in zip(steps, verdicts, strict=True)]
        write_sheet(folder / f"{path.stem}.png", tiles, captions, verdicts)
    print(f"Sheets in {folder}; label with: journeyman label {labels.folder} EPISODE:FIRST-LAST=LABEL ...")


def _serve(labels: LabelFile, paths: list[Path], who: str, port: int) -> None:
    """Serve the page until Ctrl-C."""
    with LabelServer(labels, paths, who, port) as server:
        tunnel = f"ssh -L {server.port}:127.0.0.1:{server.port} HOST"
        print(f"Label at {server.url}\nCtrl-C ends. From another machine first: {tunnel}", flush=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def _describe(labels: LabelFile) -> str:
    known = labels.read()
    counts = Counter(label.label for label in known.values())
    numbers = ", ".join(f"{counts[verdict]} {verdict}" for verdict in VERDICTS)
    return f"{labels.path}: {numbers} in {len({episode for episode, _ in known})} episodes"
