"""`journeyman episodes split DIR into=A,B ratio=0.8 seed=0`: two folders of one, divided by episodes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from agent.config import Config, InputError
from journeyman.episodes.arrangement import Source, assemble, gather
from journeyman.episodes.merging import describe
from journeyman.episodes.words import split_words
from journeyman.options import read_options


class SplitOptions(Config):
    """Options of `journeyman episodes split`.

    Attributes:
        into: The two new folders, with a comma between.
        ratio: Share of the episodes that the first gets.
        seed: Of the choice.
    """

    into: str
    ratio: float = 0.8
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        folders = self.into.split(",")
        if len(folders) != 2 or not all(folders) or Path(folders[0]).resolve() == Path(folders[1]).resolve():
            raise ValueError(
                f"into {self.into!r} must be two folders with a comma between, such as fit,check"
            )
        if not 0.0 < self.ratio < 1.0 or self.seed < 0:
            raise ValueError(
                f"ratio {self.ratio} must lie between 0 and 1, and seed {self.seed} must not be negative"
            )


def run(words: list[str]) -> int:
    """Split.

    Raises:
        InputError: A path does not exist, there are fewer than two whole episodes, or a folder cannot be made.
    """
    paths, rest = split_words(words)
    options = read_options(SplitOptions, rest, "episodes split")
    found = gather(paths, "split")
    if len(found.sources) < 2:
        raise InputError(f"{found.sources[0].path} is the only episode; it takes two for two folders.")
    first, second = (Path(folder) for folder in options.into.split(","))
    chosen, others = divide(found.sources, options.ratio, options.seed)
    parts = {first: chosen, second: others}
    assemble(parts)
    describe(found, parts)
    return 0


def divide(sources: Sequence[Source], ratio: float, seed: int) -> tuple[list[Source], list[Source]]:
    """Two parts with the same share of successes, as far as whole numbers allow; their order stays.

    Where there are at least two successes, or two failures, each part gets one.

    Args:
        sources: At least two.
        ratio: Share of the first part, in (0, 1).
        seed: Of the choice.
    """
    rng = np.random.default_rng(seed)
    first: set[int] = set()
    for success in (True, False):
        group = [number for number, source in enumerate(sources) if source.success is success]
        count = round(ratio * len(group))
        if len(group) > 1:
            count = min(max(count, 1), len(group) - 1)
        first |= set(rng.permutation(group)[:count].tolist())
    if len(sources) == 2 and len(first) != 1:
        first = {0}  # One success and one failure, of which the ratio gave both to one side.
    parts = [source for n, source in enumerate(sources) if n in first]
    return parts, [source for n, source in enumerate(sources) if n not in first]
