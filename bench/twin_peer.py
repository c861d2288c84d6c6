"""gym-hil's PandaPickCube, stepped on request: the other side of `python bench/twin.py --peer-python PATH`.

It runs in another environment, because gym-hil wants an older MuJoCo (`make external`, docs/external.md), and so
imports nothing of this repository. Requests and answers are lines of JSON on standard input and output.
"""

import ctypes.util
import json
import os
import sys
import time
from importlib import import_module
from importlib.metadata import version
from typing import Any

# Set before MuJoCo is imported. As sim/cameras.py chooses.
os.environ.setdefault("MUJOCO_GL", "egl" if ctypes.util.find_library("EGL") else "osmesa")

import gymnasium
import numpy as np

_ID = "gym_hil/PandaPickCube-v0"


class Peer:
    """One environment, which starts again where an episode ends.

    Args:
        control_rate_hz: Actions per second.
        images: Whether observations are two pictures of 128 x 128.
    """

    def __init__(self, control_rate_hz: float, images: bool) -> None:
        # Without what is no work of a step: a second of rest before an episode, gymnasium's checks of what comes out.
        keywords = {"control_dt": 1.0 / control_rate_hz, "image_obs": images, "reset_delay_seconds": 0.0}
        self._env = gymnasium.make(_ID, disable_env_checker=True, random_block_position=True, **keywords)
        self._rng = np.random.default_rng(0)
        self._images = images

    def describe(self) -> dict[str, Any]:
        """What a step consists of."""
        base = self._env.unwrapped
        return {
            "substeps": base._n_substeps,
            "timestep_s": base.model.opt.timestep,
            "control_laws": base._n_substeps,
            "dofs": base.model.nv,
        }

    def run(self, steps: int, seed: int) -> dict[str, float]:
        """CPU microseconds per step of this process, resets not counted."""
        np.random.seed(seed)  # noqa: NPY002 - what it draws from
        self._env.reset(seed=seed)
        spent_s = 0.0
        for _ in range(steps):
            action = self._rng.uniform([-1.0, -1.0, -1.0, 0.0], [1.0, 1.0, 1.0, 2.0]).astype(np.float32)
            started_s = time.process_time()
            observation, _, terminated, truncated, _ = self._env.step(action)
            spent_s += time.process_time() - started_s
            if terminated or truncated:
                self._env.reset()
        if self._images and {v.shape for v in observation["pixels"].values()} != {(128, 128, 3)}:
            raise RuntimeError(f"{_ID} does not give two pictures of 128 x 128.")
        return {"us": 1e6 * spent_s / steps}


def main() -> None:
    """Answer until there is nothing more to read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # The packages may print, too.
    import_module("gym_hil")  # Registers the id.
    versions = {"gym_hil": version("gym-hil"), "mujoco": version("mujoco")}
    peers: dict[tuple[float, bool], Peer] = {}
    for line in sys.stdin:
        request = json.loads(line)
        key = request["control_rate_hz"], request["images"]
        if key not in peers:
            peers[key] = Peer(*key)
        if "steps" in request:
            answer: dict[str, Any] = peers[key].run(request["steps"], request["seed"])
        else:
            answer = versions | peers[key].describe()
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
