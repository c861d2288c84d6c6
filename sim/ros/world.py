"""The twin with its time, run by one thread; other threads only leave wishes for it."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from controllers.config import InputError
from robot_env.task import Task, load_task
from sim.config import TwinConfig
from sim.registration import load, make_env
from sim.scene import TwinScene

RATE_FACTORS = (0.01, 20.0)
"""Slowest and fastest time, relative to the wall's."""
# Wall time that the physics may lag behind before the missing time is dropped.
_MAX_LAG_S = 0.1
_WISH_TIMEOUT_S = 5.0


class TwinWorld:
    """The twin doing a task. Everything here belongs to the thread of the physics, except `wish`.

    Args:
        task: What scene is on the table.
        rate_factor: Speed of its time relative to the wall's.
        simulated_time: Whether messages are stamped with the twin's own time instead of the system's.

    Raises:
        InputError: Task and twin do not fit, or the rate is none.
    """

    def __init__(self, task: Task, rate_factor: float = 1.0, simulated_time: bool = False) -> None:
        lowest, highest = RATE_FACTORS
        if not lowest <= rate_factor <= highest:
            raise InputError(
                f"rate_factor {rate_factor:g} must lie between {lowest:g} and {highest:g}; 1 is real time."
            )
        if rate_factor != 1.0 and not simulated_time:
            raise InputError(
                f"rate_factor {rate_factor:g} makes time pass otherwise than on the wall: set publish_clock, and "
                "use_sim_time for every other node."
            )
        # Control at every physics step, so that joint states come at 500 Hz as from a real arm. Images leave as
        # messages, drawn elsewhere: nobody reads this environment's cameras.
        env = make_env(task, TwinConfig(substeps_per_tick=1), cameras=dict.fromkeys(task.cameras))  # type: ignore[arg-type]
        self.task = task
        assert isinstance(env.scene, TwinScene)  # make_env makes no other.
        self.scene = env.scene
        self.twin = env.scene.twin
        self.simulated_time = simulated_time
        self._rng = np.random.default_rng()
        self._ticks = 0
        self._period_s = self.twin.tick_s / rate_factor
        self._next_s = time.monotonic()
        self.dropped_s = 0.0
        self._wishes: list[tuple[Callable[[], str], threading.Event, list[str]]] = []
        self._lock = threading.Lock()
        self.reset(None)

    def reset(self, seed: int | None) -> str:
        """Start the scene anew; a seed makes it reproducible.

        Returns:
            Why that failed; empty if it worked.
        """
        result = self.scene.reset(self._rng if seed is None else np.random.default_rng(seed))
        return "" if result.success else str(result.reason)

    def tick(self) -> None:
        """Let one tick of physics pass, and the wall's time for it."""
        self.twin.advance(1)
        self._ticks += 1
        self._next_s += self._period_s
        remaining_s = self._next_s - time.monotonic()
        if remaining_s > 0.0:
            time.sleep(remaining_s)
        elif remaining_s < -_MAX_LAG_S:
            # A machine too busy to keep up: nobody is helped by a second of physics in a burst.
            self.dropped_s -= remaining_s
            self._next_s = time.monotonic()

    def stamp_ns(self) -> int:
        """ROS time now."""
        return self.time_ns() if self.simulated_time else time.time_ns()

    def time_ns(self) -> int:
        """Simulated time since the start. It goes on evenly across resets."""
        return round(self._ticks * self.twin.tick_s * 1e9)

    def wish(self, act: Callable[[], str]) -> str:
        """From another thread: let the physics' thread do something between two ticks; returns what it says."""
        done, answer = threading.Event(), list[str]()
        wish = (act, done, answer)
        with self._lock:
            self._wishes.append(wish)
        if done.wait(_WISH_TIMEOUT_S):
            return answer[0]
        with self._lock:
            if wish in self._wishes:  # Nobody wants it any more.
                self._wishes.remove(wish)
        return "the physics does not answer"

    def grant_wishes(self) -> None:
        """Do what was wished for."""
        if not self._wishes:
            return
        with self._lock:
            wishes, self._wishes = self._wishes, []
        for act, done, answer in wishes:
            answer.append(act())
            done.set()


def find_task(name: str) -> Task:
    """A task by its name or by the path of its YAML.

    Raises:
        InputError: There is none.
    """
    return load_task(Path(name)) if name.endswith((".yaml", ".yml")) else load(name)
