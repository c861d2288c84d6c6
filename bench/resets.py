"""How far a robot gets alone: episode after episode on the twin, reset by the arm itself as a real one would.

    python bench/resets.py [--episodes 500] [--seed 0] [--policy expert|random] [--ros2] [--rate-factor 3] [--json FILE]

Every start is verified. The twin's own reset is only the hand of the person who is asked when the arm does not get on.
With --ros2 the twin is a node of its own beside its controller node, in simulated time that is --rate-factor as fast as
real time. Exit code 1 if a person was asked.
"""

import argparse
import contextlib
import json
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from journeyman.config import compose
from journeyman.resets import make_scripted
from journeyman.wiring import make_env
from robot_env.contracts import ResetAttempt
from robot_env.env import RobotEnv
from robot_env.robot import RobotUnavailableError
from sim.cube_scene import CUBE_SIZE_M
from sim.tasks.lift_cube import LiftCubeExpert

_NOISE = 0.2  # As of the demonstrations.
_MOST_FAULTS = 100
_REPORT_EVERY = 25


class Hand:
    """A person who is there at once: the twin's own reset. Implements `robot_env.resets.operator.Operator`."""

    def __init__(self, env: RobotEnv) -> None:
        self._own, self.questions = env.reset_policy, []

    def ask(self, question: str) -> None:
        """Is heard."""
        self.questions.append(question)

    def answered(self) -> bool:
        """Help."""
        return self._own.reset(np.random.default_rng(len(self.questions))).success

    def done(self) -> None:
        """Go."""


class Seen:
    """The cube as anybody sees it, for the scripted expert."""

    def __init__(self, env: RobotEnv) -> None:
        self._env, self.robot, self.task = env, env.robot, env.task

    @property
    def cube_m(self) -> np.ndarray:
        """Where it is."""
        return self._env.scene.observe()["cube_position"]

    def is_grasped(self) -> bool:
        """Whether it is between fingers that are no farther apart."""
        state = self._env.state
        near = np.linalg.norm(self.cube_m - state.ee_position_m) < CUBE_SIZE_M / 2
        return bool(near) and state.gripper_width_m < CUBE_SIZE_M * 1.1


def main() -> int:
    """Play, then say how the resets went."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--policy", choices=("expert", "random"), default="expert")
    parser.add_argument("--ros2", action="store_true")
    parser.add_argument("--rate-factor", type=float, default=3.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as reset.config.budget_s=60")
    options = parser.parse_args()
    with twin_node(options.rate_factor) if options.ros2 else contextlib.nullcontext():
        robot = ["robot=ros2", "robot.config.simulated_time=true"] if options.ros2 else []
        config = compose(["task=lift_cube", *robot, *options.overrides])
        env = make_env(config)
        hand = Hand(env)
        env.reset_policy = make_scripted(env, config.reset.config, hand)
        try:
            result = play(env, hand, options)
        finally:
            env.close()
    for name, value in result.items():
        print(f"{name:<32} {value}")
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    return 1 if hand.questions else 0


@contextlib.contextmanager
def twin_node(rate_factor: float) -> Iterator[None]:
    """The twin and its controller node as processes of their own."""
    command = [sys.executable, "-m", "journeyman", "twin", "--no-cameras", "--clock"]
    process = subprocess.Popen([*command, f"--rate-factor={rate_factor}", "task=lift_cube"])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


class Tally:
    """What was seen of the resets."""

    def __init__(self) -> None:
        self.attempts: list[tuple[ResetAttempt, ...]] = []
        self.durations_s: list[float] = []
        self.starts: list[list[float]] = []
        self.successes = 0
        self.faults: Counter[str] = Counter()


def play(env: RobotEnv, hand: Hand, options: argparse.Namespace) -> dict[str, object]:
    """Reset and act. As an actor does, an episode in which the robot cannot be driven is dropped."""
    rng, tally, began_s = np.random.default_rng(options.seed), Tally(), time.monotonic()
    expert = LiftCubeExpert(Seen(env))
    episodes = 0
    while episodes < options.episodes and tally.faults.total() <= _MOST_FAULTS:
        try:
            tally.successes += _episode(env, expert, rng, options, tally)
        except RobotUnavailableError as error:
            tally.faults[words(str(error))] += 1
            print(f"Fault: {error}", flush=True)
            time.sleep(1.0)
            continue
        episodes += 1
        if episodes % _REPORT_EVERY == 0:
            asked, faults = len(hand.questions), tally.faults.total()
            seconds = time.monotonic() - began_s
            print(f"{episodes} episodes, {seconds:.0f} s, {asked} human calls, {faults} faults", flush=True)
    if not episodes:
        raise SystemExit("The robot cannot be driven: a slower --rate-factor, or an idle computer, may help.")
    starts, durations_s = np.array(tally.starts), np.array(tally.durations_s)
    attempts = tally.attempts
    return {
        "policy": options.policy,
        "episodes, of them successful": f"{episodes}, {tally.successes}",
        "resets, of them verified": f"{len(attempts)}, {sum(tried[-1].success for tried in attempts)}",
        "first attempts that failed": _reasons(tried[0] for tried in attempts),
        "further attempts that failed": _reasons(a for tried in attempts for a in tried[1:]),
        "human calls": len(hand.questions),
        "faults of the robot": dict(tally.faults),
        "duration of a reset, s": f"mean {durations_s.mean():.1f}, longest {durations_s.max():.1f}",
        "start of arm x y z, m": spread(starts[:, :3]),
        "start of cube x y, m": spread(starts[:, 3:]),
        "wall time per episode, s": round((time.monotonic() - began_s) / episodes, 2),
    }


def _episode(
    env: RobotEnv,
    expert: LiftCubeExpert,
    rng: np.random.Generator,
    options: argparse.Namespace,
    tally: Tally,
) -> bool:
    """One episode; whether it succeeded."""
    began: list[float] = []
    _, info = env.reset(
        seed=None if tally.attempts else options.seed,
        options={"keep_going": lambda *_: began or began.append(env.robot.clock.now_s())},
    )
    tally.attempts.append(tuple(info["reset_attempts"]))
    tally.durations_s.append(env.robot.clock.now_s() - began[0])
    tally.starts.append([*env.state.ee_position_m, *env.scene.observe()["cube_position"][:2]])
    while True:
        action = rng.uniform(-1.0, 1.0, 4)
        if options.policy == "expert":
            action = np.clip(expert.act() + rng.normal(0.0, _NOISE, 4), -1.0, 1.0)
        _, _, terminated, truncated, _ = env.step(action.astype(np.float32))
        if terminated or truncated:
            return bool(terminated)


def _reasons(attempts: Iterable[ResetAttempt]) -> dict[str, int]:
    return dict(Counter(f"{a.policy}: {words(a.reason)}" for a in attempts if not a.success))


def words(reason: str) -> str:
    """Without its numbers."""
    return re.sub(r"-?\d+(\.\d+)?", "#", reason)


def spread(points: np.ndarray) -> str:
    """Range and standard deviation per axis."""
    low, high, deviation = points.min(0), points.max(0), points.std(0)
    return "; ".join(f"{a:.2f} to {b:.2f} (sd {c:.3f})" for a, b, c in zip(low, high, deviation, strict=True))


if __name__ == "__main__":
    sys.exit(main())
