"""AdaStop (arXiv:2306.10882): after every block of seeds, which algorithms are told apart, and which need more seeds.

A group-sequential permutation test. It holds its level however often one looks, as long as the size of a block and the
number of blocks are fixed before. The package `adastop` is not used: 0.1.3 compares the size of a difference with the
permuted differences *with their sign*, and so finds a difference between equal arms twice as often as it says (10 % of
1,500 trials at a level of 5 %, two arms, one block of five); it brings pandas, too.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.config import Config

_SEED = 0  # The same runs give the same decisions.


class AdaStopConfig(Config):
    """The plan of the test, made before the first look.

    Attributes:
        block: Seeds of each algorithm between two looks. With 5 a clear difference is seen at the first.
        blocks: Looks at most.
        alpha: Probability that any of the pairs that do not differ is said to.
        permutations: At most so many are looked at; all, where there are no more.
    """

    block: int = 5
    blocks: int = 5
    alpha: float = 0.05
    permutations: int = 10_000

    def __post_init__(self) -> None:
        """Refuse plans that cannot decide anything."""
        if self.block < 2 or self.blocks < 1 or not 0 < self.alpha < 1 or self.permutations < 100:
            raise ValueError(
                f"block {self.block} must be at least 2, blocks {self.blocks} at least 1, alpha {self.alpha:g} between "
                f"0 and 1, and permutations {self.permutations} at least 100"
            )


class Decision(StrEnum):
    """About the first of a pair."""

    LARGER = "larger"
    SMALLER = "smaller"
    EQUAL = "equal"
    """No difference was found in all blocks of the plan."""
    UNDECIDED = "undecided"


class Pair(msgspec.Struct, frozen=True):
    """Two algorithms and what is known about them.

    Attributes:
        first: Name of one.
        second: Name of the other.
        decision: About the first.
        seeds: Of each, that the decision looked at.
    """

    first: str
    second: str
    decision: Decision
    seeds: int


class Outcome(msgspec.Struct, frozen=True):
    """What the test says so far.

    Attributes:
        pairs: All of them.
        missing: Seeds that an algorithm needs until the next look; without those that need none.
    """

    pairs: tuple[Pair, ...]
    missing: dict[str, int]


class _Comparison(NamedTuple):
    first: str
    second: str


def adastop(scores: Mapping[str, Sequence[float]], config: AdaStopConfig) -> Outcome:
    """Look after every block that is complete.

    Args:
        scores: By algorithm, in the order of their seeds, which must not depend on the scores.
        config: The plan.
    """
    open_pairs = [_Comparison(*pair) for pair in itertools.combinations(scores, 2)]
    found: dict[_Comparison, Pair] = {}
    for look in range(1, config.blocks + 1):
        seeds = look * config.block
        short = {name: seeds - len(scores[name]) for pair in open_pairs for name in pair}
        missing = {name: count for name, count in short.items() if count > 0}
        if missing or not open_pairs:
            found |= {pair: Pair(*pair, Decision.UNDECIDED, seeds - config.block) for pair in open_pairs}
            return _outcome(scores, found, missing)
        for pair, decision in _look(scores, open_pairs, look, config).items():
            found[pair] = Pair(*pair, decision, seeds)
        open_pairs = [pair for pair in open_pairs if pair not in found]
    found |= {pair: Pair(*pair, Decision.EQUAL, config.blocks * config.block) for pair in open_pairs}
    return _outcome(scores, found, {})


def _outcome(
    scores: Mapping[str, Sequence[float]], found: Mapping[_Comparison, Pair], missing: dict[str, int]
) -> Outcome:
    order = [_Comparison(*pair) for pair in itertools.combinations(scores, 2)]
    return Outcome(tuple(found[pair] for pair in order), missing)


def _look(
    scores: Mapping[str, Sequence[float]], pairs: Sequence[_Comparison], look: int, config: AdaStopConfig
) -> dict[_Comparison, Decision]:
    """Decide what can be after `look` blocks: the largest difference first, then again among the others."""
    signs = _signs(look, config)
    totals = np.stack([_totals(scores, pair, signs) for pair in pairs])  # (pairs, permutations, looks)
    observed = totals[:, 0, -1]  # The first permutation changes nothing.
    decided: dict[_Comparison, Decision] = {}
    left = list(range(len(pairs)))
    while left:
        boundary = _last_boundary(np.abs(totals[left]).max(axis=0), config)
        largest = max(left, key=lambda index: abs(observed[index]))
        if abs(observed[largest]) <= boundary:
            break
        decided[pairs[largest]] = Decision.LARGER if observed[largest] > 0 else Decision.SMALLER
        left.remove(largest)
    return decided


def _signs(look: int, config: AdaStopConfig) -> NDArray[np.float64]:
    """To which of two algorithms permutations give the scores of each block: +1 or -1, (permutations, look, 2 block).

    All permutations where they are few enough, else random ones; the first leaves everything where it is.
    """
    size = 2 * config.block
    if math.comb(size, config.block) ** look <= config.permutations:
        choices = np.full((math.comb(size, config.block), size), -1.0)
        for row, chosen in zip(choices, itertools.combinations(range(size), config.block), strict=True):
            row[list(chosen)] = 1.0
        return np.array([*itertools.product(choices, repeat=look)])
    identity = np.repeat([1.0, -1.0], config.block)
    signs = np.tile(identity, (config.permutations, look, 1))
    np.random.default_rng(_SEED).permuted(signs[1:], axis=-1, out=signs[1:])
    return signs


def _totals(
    scores: Mapping[str, Sequence[float]], pair: _Comparison, signs: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Difference of the sums after each look, under each permutation within blocks: (permutations, looks)."""
    _, looks, size = signs.shape
    shape = (looks, size // 2)
    both = [np.asarray(scores[name], np.float64)[: looks * size // 2].reshape(shape) for name in pair]
    differences = np.einsum("pls,ls->pl", signs, np.concatenate(both, axis=1))
    # Success rates are fractions: sums that are equal must not differ by how they were added up.
    return np.cumsum(differences, axis=1).round(9)


def _last_boundary(largest: NDArray[np.float64], config: AdaStopConfig) -> float:
    """What the largest statistic must exceed at the last of the looks.

    At look k, permutations that stayed within the boundaries so far may exceed the new one with a probability of
    alpha k / K less what was spent before (B_{N,k} of the paper, with q_k = alpha / K).

    Args:
        largest: Of the pairs under test, by permutation and look, shape (permutations, looks).
        config: The plan.
    """
    total, looks = largest.shape
    within, spent, boundary = np.ones(total, bool), 0, math.inf
    for look in range(looks):
        may_exceed = math.floor(config.alpha * (look + 1) / config.blocks * total + 1e-9) - spent
        boundary = _boundary(largest[within, look], may_exceed)
        exceeds = within & (largest[:, look] > boundary)
        spent += int(exceeds.sum())
        within &= ~exceeds
    return boundary


def _boundary(values: NDArray[np.float64], may_exceed: int) -> float:
    """The smallest of `values` that at most so many exceed."""
    return float(np.sort(values)[len(values) - 1 - may_exceed])
