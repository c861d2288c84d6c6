"""A comparison in words and tables, for the terminal and as Markdown. No figure stands without interval or count."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from journeyman.adastop import Decision, Pair
from journeyman.comparison import REACHED, Comparison, GroupResult, OverTasks, Spread, TaskDecisions
from journeyman.statistics import Estimate


class Section(NamedTuple):
    """A table with what must be said about it.

    Attributes:
        title: Above it.
        columns: Their names; none where there are only notes.
        rows: Of as many words as there are columns.
        notes: Paragraphs below it.
        commands: For a shell.
    """

    title: str
    columns: tuple[str, ...] = ()
    rows: Sequence[tuple[str, ...]] = ()
    notes: Sequence[str] = ()
    commands: Sequence[str] = ()


def sections(comparison: Comparison) -> list[Section]:
    """All of it, in the order in which one wants to read it."""
    found = [
        _final_success(comparison.groups),
        _on_the_way(comparison.groups),
        *_over_tasks(comparison.over_tasks),
    ]
    found += [_decisions(task, decided, comparison) for task, decided in comparison.decisions.items()]
    if comparison.other_differences:
        found.append(_other_differences(comparison))
    if comparison.left_out:
        rows = [(path, why) for path, why in comparison.left_out.items()]
        notes = ["What fails is often what stops early: without these runs the figures may flatter."]
        found.append(Section("Runs left out", ("run", "because"), rows, notes))
    return found


def markdown(found: Sequence[Section]) -> str:
    """As a document."""
    return "# Comparison of runs\n\n" + "\n".join(line for section in found for line in _markdown(section))


def _markdown(section: Section) -> Iterator[str]:
    yield from (f"## {section.title}", "")
    if section.columns:
        yield _row(section.columns)
        yield _row(["---"] * len(section.columns))
        yield from map(_row, section.rows)
        yield ""
    for note in section.notes:
        yield from (note, "")
    if section.commands:
        yield from ("```sh", *section.commands, "```", "")


def _row(words: Sequence[str]) -> str:
    return f"| {' | '.join(word.replace('|', chr(92) + '|') for word in words)} |"


def _final_success(groups: Sequence[GroupResult]) -> Section:
    return Section(
        "Final success",
        ("task", "algorithm", "seeds", "all episodes (Wilson 95 %)", "IQM over seeds (bootstrap 95 %)"),
        [
            (
                one.task,
                one.algorithm,
                _seeds(one.seeds),
                f"{one.successes} of {one.episodes}, {_interval(*one.wilson)}",
                percent(one.iqm),
            )
            for one in groups
        ],
        [
            "The Wilson interval is about these very policies, the bootstrap about other seeds of the same algorithm. "
            "IQM: the mean of the middle half of the seeds, or of all where they are fewer than four. "
            "Bootstrap intervals of few seeds are too narrow: docs/compare.md says by how much.",
        ],
    )


def _on_the_way(groups: Sequence[GroupResult]) -> Section:
    return Section(
        "On the way: median over seeds (smallest to largest)",
        ("task", "algorithm", f"steps to {REACHED:.0%}", "dip when it went online", "CPU minutes"),
        [
            (one.task, one.algorithm, _steps(one), _dip(one), _range(one.cpu_minutes, "{:.1f}"))
            for one in groups
        ],
        [
            f"Steps to {REACHED:.0%}: environment steps of the first evaluation at or above it; a seed that never got "
            "there counts as later than all others. Dip: after an offline phase, success at 0 environment steps less "
            "the lowest of all later evaluations. Recovered: a still later one was as good again.",
        ],
    )


def _over_tasks(over: OverTasks) -> Iterator[Section]:
    left_out = (
        f" Left out, as not every algorithm was run on it: {', '.join(over.left_out)}."
        if over.left_out
        else ""
    )
    if not over.tasks:
        yield Section("Over tasks", notes=["There is no task that all algorithms were run on." + left_out])
        return
    yield Section(
        f"Over {len(over.tasks)} task{'s' if len(over.tasks) > 1 else ''}: {', '.join(over.tasks)}",
        ("algorithm", "IQM (95 %)", "optimality gap (95 %)"),
        [(name, percent(over.iqm[name]), percent(over.optimality_gap[name])) for name in over.iqm],
        [
            "Optimality gap: how far success falls short of 100%, on average over tasks; smaller is better. "
            "IQM: over the seeds of all tasks together, where a task with more seeds weighs more." + left_out
        ],
    )
    if over.improvements:
        yield Section(
            "Probability of improvement",
            ("algorithm", "better than", "probability (95 %)"),
            [(one.first, one.second, percent(one.probability)) for one in over.improvements],
            [
                "That a run of the first has more success than one of the second on the same task; a draw counts half."
            ],
        )


def _decisions(task: str, decided: TaskDecisions, comparison: Comparison) -> Section:
    plan = comparison.plan
    notes = [
        f"AdaStop: blocks of {plan.block} seeds, at most {plan.blocks}. That any pair of this task is called different "
        f"though it is not has a probability of at most {plan.alpha:.0%}, as long as the plan stays as it is."
    ]
    if decided.next_seeds:
        notes.append("More seeds are needed for the next look:")
    notes += [
        f"{label}: seeds {', '.join(map(str, decided.next_seeds[label]))}. Its configuration cannot be given on a "
        "command line; start from config.yaml of one of its runs."
        for label, command in decided.commands.items()
        if command is None
    ]
    commands = [command for command in decided.commands.values() if command is not None]
    rows = [(pair.first, pair.second, _verdict(pair, plan.block)) for pair in decided.outcome.pairs]
    return Section(f"Which differ on {task}", ("algorithm", "against", "decision"), rows, notes, commands)


def _verdict(pair: Pair, block: int) -> str:
    if pair.decision is Decision.UNDECIDED:
        return (
            f"undecided after {pair.seeds} seeds of each"
            if pair.seeds
            else f"undecided: not yet {block} seeds of all"
        )
    if pair.decision is Decision.EQUAL:
        return f"equal: no difference found with {pair.seeds} seeds of each"
    return f"{pair.decision} success, after {pair.seeds} seeds of each"


def _other_differences(comparison: Comparison) -> Section:
    rows = [
        (task, key, ", ".join(f"{label}: {value}" for label, value in values.items()))
        for task, keys in comparison.other_differences.items()
        for key, values in keys.items()
    ]
    notes = ["Any of these may be why the algorithms differ."]
    return Section("What else differs between the algorithms", ("task", "key", "values"), rows, notes)


def percent(estimate: Estimate) -> str:
    """A share with its interval, or with why there is none."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.0%} ({estimate.why_no_interval})"
    return f"{estimate.value:.0%}, {_interval(estimate.low, estimate.high)}"


def _interval(low: float, high: float) -> str:
    return f"{low:.0%} to {high:.0%}"


def _seeds(seeds: Sequence[int]) -> str:
    return f"{len(seeds)} ({' '.join(map(str, seeds))})"


def _steps(one: GroupResult) -> str:
    spread = one.steps_to_reach
    if not spread.having:
        return f"never, none of {_count(spread.runs)}"
    text = _range(spread, "{:,.0f}")
    never = spread.runs - spread.having
    return f"{text}, {never} of {_count(spread.runs)} never" if never else text


def _dip(one: GroupResult) -> str:
    if not one.offline_runs:
        return "no offline phase"
    if one.dip is None:
        return "not seen: not evaluated at 0 steps and later"
    return f"{_range(one.dip.drop, '{:.0%}')}, {one.dip.recovered} of {_count(one.dip.drop.runs)} recovered"


def _range(spread: Spread, style: str) -> str:
    """Median and range; one seed is all there is."""
    low, median, high = (
        "never" if value is None else style.format(value)
        for value in (spread.low, spread.median, spread.high)
    )
    return f"{median} (1 seed)" if spread.runs == 1 else f"{median} ({low} to {high})"


def _count(seeds: int) -> str:
    return f"{seeds} seed{'s' if seeds != 1 else ''}"
