"""What does a second process add to a learner? Critic updates per second of one process and of several on one machine.

    python -m bench.scaling [--json FILE] [--processes 2] [--seconds 6] [--settings 10x20 2x20 2x1]

As `bench/learner.py`: state 18, action 4, batch 256, hidden 256 x 256, eager; each process has a core of its own. All
processes of a learner make the same update together (docs/scaling.md): a second one halves the arithmetic of each, and
adds an all-reduce of all gradients to every optimiser step. Blocks of both learners alternate.
"""

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import torch

from agent.algorithm import Algorithm
from agent.algorithm_config import AlgorithmConfig, make_algorithm
from agent.parallel.ranks import Place, Ranks
from agent.parallel.shared import SharedAlgorithm, dismiss, follow
from agent.processor import use_processor
from bench.learner import BATCH, our_sampler

CPU = torch.device("cpu")


def updates_per_s(algorithm: Algorithm, utd_ratio: int, seconds: float) -> float:
    """Of one block, sampling included."""
    _, sampler = our_sampler()
    algorithm.update(sampler.sample(utd_ratio, BATCH))
    began_s, updates = time.perf_counter(), 0
    while time.perf_counter() - began_s < seconds:
        algorithm.update(sampler.sample(utd_ratio, BATCH))
        updates += utd_ratio
    return updates / (time.perf_counter() - began_s)


def work(rank: int, processes: int, settings: list[tuple[int, int]], seconds: float, folder: Path) -> None:
    """One process; the first one measures both learners."""
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[rank]})
    use_processor(threads=1)
    found = []
    for number, (critics, utd_ratio) in enumerate(settings):
        config = {"critics": critics, "utd_ratio": utd_ratio, "batch_size": BATCH}
        choice = AlgorithmConfig(name="rlpd", algorithm="agent.sac.SAC", config=config)
        ranks = Ranks(Place(rank, processes, rank), f"file://{folder}/{number}")
        if rank:
            follow(ranks)
        else:
            spec, _ = our_sampler()
            alone = make_algorithm(choice, spec, CPU, 0)
            shared = SharedAlgorithm(make_algorithm(choice, spec, CPU, 0), choice, spec, CPU, ranks)
            pairs = [
                [updates_per_s(one, utd_ratio, seconds / 2) for one in (alone, shared)] for _ in range(2)
            ]
            dismiss(ranks)
            one, several = (max(values) for values in zip(*pairs, strict=True))
            found.append({"setting": f"{critics}x{utd_ratio}", "one": one, "several": several})
        ranks.close()
    if rank == 0:
        (folder / "found.json").write_text(json.dumps(found))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--settings", nargs="+", default=["10x20", "2x20", "2x1"])
    options = parser.parse_args()
    settings = [tuple(map(int, text.split("x"))) for text in options.settings]
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name:
        arguments = (options.processes, settings, options.seconds, Path(name))
        workers = [spawn.Process(target=work, args=(rank, *arguments)) for rank in range(options.processes)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        found = json.loads((Path(name) / "found.json").read_text())
    print(
        f"| critics x UTD | one process, updates/s | {options.processes} processes | ratio |\n|---|---|---|---|"
    )
    for row in found:
        ratio = row["several"] / row["one"]
        print(f"| {row['setting']} | {row['one']:.1f} | {row['several']:.1f} | {ratio:.2f} |")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
