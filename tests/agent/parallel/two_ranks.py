"""Two processes that learn together, beside one that learns alone: writes what `test_parallel.py` looks at, as JSON.

They are forks of this one, which has imported torch already. Nothing makes a gradient before that: the threads that do
would not survive it.
"""

import hashlib
import json
import multiprocessing
import os
import sys
from pathlib import Path

import gymnasium
import numpy as np
import torch

from agent.algorithm_config import AlgorithmConfig, make_algorithm
from agent.parallel.ranks import Place, RankLostError, Ranks
from agent.parallel.shared import SharedAlgorithm, dismiss, follow
from agent.transition import TransitionSpec
from agent.weights import encode_weights

CPU = torch.device("cpu")
ROWS, UPDATES = 8, 4
SMALL = {"batch_size": ROWS, "utd_ratio": 2, "hidden_sizes": [16, 16]}
BOX = gymnasium.spaces.Box
SPEC = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {"zoom": BOX(-1, 9, (2,), np.float32), "arm": BOX(-np.inf, np.inf, (3,), np.float32)}
    ),
    BOX(-1, 1, (2,), np.float32),
)
CAMERA = TransitionSpec.of(
    gymnasium.spaces.Dict(
        {"state": BOX(-9, 9, (3,), np.float32), "front": BOX(0, 255, (16, 16, 3), np.uint8)}
    ),
    BOX(-1, 1, (2,), np.float32),
)
PIXELS = {"channels": [4, 4], "features": 8}
CASES = {
    "rlpd": (SPEC, "agent.sac.SAC", {**SMALL, "critics": 3, "target_subset": 2}),
    "sac": (SPEC, "agent.sac.SAC", {**SMALL, "actor_objective": "min", "entropy_backup": True}),
    "drq": (CAMERA, "agent.drq.DrQ", {**SMALL, "encoder": PIXELS, "shift_pixels": 2}),
    "iql": (SPEC, "agent.iql.IQL", {**SMALL, "offline_updates": 3}),
    "bc": (CAMERA, "agent.bc.BC", {**SMALL, "encoder": PIXELS, "shift_pixels": 2}),
}


def batches(spec, count, rows):
    """As the sampler makes them: fields of several types, rows that all differ."""
    rng = np.random.default_rng(5)
    for _ in range(count):
        batch = {"provenance": torch.from_numpy(rng.integers(0, 4, rows, np.uint8))}
        for name in ("action", "reward", "terminated", *(n for n in spec.dtype.names if "observation." in n)):
            dtype, shape = spec.dtype[name].base, (rows, *spec.dtype[name].shape)
            random = rng.random(shape) < 0.2 if dtype.kind == "b" else rng.uniform(-1, 1, shape)
            batch[name] = torch.from_numpy((random * 255 if dtype.kind == "u" else random).astype(dtype))
        yield batch


def learn(algorithm, spec):
    """Some steps offline, where there are such, a step back to what was there before, and some online."""
    metrics = [
        algorithm.learn_offline(batch) for batch in batches(spec, 2, ROWS) if algorithm.offline_updates
    ]
    before = algorithm.state_dict()
    for _ in range(2):
        algorithm.load_state_dict(before)
        metrics += [algorithm.update(batch) for batch in batches(spec, UPDATES, 2 * ROWS)]
    return metrics


def digest(state):
    return hashlib.sha256(encode_weights(state)).hexdigest()


def made(case):
    spec, name, config = CASES[case]
    choice = AlgorithmConfig(name=case, algorithm=name, config=config)
    return make_algorithm(choice, spec, CPU, 3), choice, spec


class Dies(Ranks):
    """In the middle of an update."""

    left = 7

    def average_gradients(self, *arguments):
        self.left -= 1
        if self.left == 0 and self.here.rank:
            os._exit(9)
        super().average_gradients(*arguments)


class Drifts(Ranks):
    """As a GPU of another kind may."""

    def average_gradients(self, optimizer, *arguments):
        super().average_gradients(optimizer, *arguments)
        if self.here.rank:
            optimizer.param_groups[0]["params"][0].grad.add_(1e-6)


def lead(case, ranks):
    algorithm, choice, spec = made(case)
    shared = SharedAlgorithm(algorithm, choice, spec, CPU, ranks)
    try:
        metrics, state = learn(shared, spec), shared.state_dict()
    except RankLostError as error:
        return {"error": str(error)}
    dismiss(ranks)
    algorithm, _, _ = made(case)
    expected = learn(algorithm, spec), algorithm.state_dict()
    return {
        "metrics": [expected[0], metrics],
        "names": [sorted(expected[1]), sorted(state)],
        "moved": distance(made(case)[0].state_dict(), state),
        "apart": distance(expected[1], state),
        "digest": digest(state),
    }


def distance(one, other):
    """Greatest difference of a parameter, whatever the optimisers remember."""
    return max(
        float((one[n] - other[n]).abs().max()) for n in one if n.startswith(("actor.", "critic.", "value."))
    )


def work(rank, runs, folder):
    torch.set_num_threads(1)
    for name, case, kind in runs:
        ranks = kind(Place(rank, 2, rank), f"file://{folder}/{name}.rendezvous")
        try:
            result = {"digest": digest(follow(ranks).state_dict())} if rank else lead(case, ranks)
        except RankLostError as error:
            result = {"error": str(error)}
        ranks.close()
        (folder / f"{name}.{rank}.json").write_text(json.dumps(result))
    os._exit(0)  # Taking down so many modules takes longer than all the rest.


def main(folder):
    for case in CASES:
        made(case)  # What torch imports late takes seconds, which the forks need not spend again.
    fork = multiprocessing.get_context("fork")
    runs = [*((case, case, Ranks) for case in CASES), ("drifts", "rlpd", Drifts), ("dies", "rlpd", Dies)]
    both = [fork.Process(target=work, args=(rank, runs, folder)) for rank in range(2)]
    for process in both:
        process.start()
    for process in both:
        process.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
