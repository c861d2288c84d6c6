"""The actor: drives the environment at its rate and streams every transition to the learner."""

import re
import threading
import zlib
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np

from agent.algorithm import Policy
from agent.config import Config
from agent.evaluation import evaluate
from agent.transition import Provenance, TransitionSpec
from agent.transport.client import ActorClient
from agent.weights import decode_weights


class ActorConfig(Config):
    """How an actor is run.

    Attributes:
        name: Unique among the actors of a learner.
        random_steps: Uniformly random actions at the start of the run, before the policy acts.
        evaluate_every: Environment steps between two evaluations; 0 never evaluates.
        evaluation_episodes: Episodes of each.
        park_after_s: Without word from the learner for so long, the robot is parked until it answers again.
    """

    name: str = "actor-0"
    random_steps: int = 300
    evaluate_every: int = 1000
    evaluation_episodes: int = 20
    park_after_s: float = 30.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not re.fullmatch(r"[\w-]{1,100}", self.name):
            raise ValueError(f"actor.name {self.name!r} must consist of letters, digits, _ and -")
        if self.random_steps < 0 or self.evaluate_every < 0 or self.evaluation_episodes < 1:
            raise ValueError(
                f"actor.random_steps {self.random_steps} and evaluate_every {self.evaluate_every} must not be "
                f"negative, and evaluation_episodes {self.evaluation_episodes} must be at least 1"
            )
        if not self.park_after_s > 0:
            raise ValueError(f"actor.park_after_s {self.park_after_s} must be positive")


EVALUATION_SEED = 1_000_000
"""Evaluation episode i starts from reset seed EVALUATION_SEED + i in every run: all policies meet the same starts."""


def episode_seed(seed: int, actor: str, position: int) -> list[int]:
    """Entropy of what begins at a position of an actor's stream: no two actors and no two episodes share it."""
    return [seed, zlib.crc32(actor.encode()), position]


class Interrupted(Exception):  # noqa: N818 - not an error
    """A stop was requested in the middle of an episode."""


class Actor:
    """The control loop never waits for the network, except where time is simulated and waiting costs nothing."""

    def __init__(
        self,
        config: ActorConfig,
        env: gymnasium.Env[Any, Any],
        policy: Policy,
        client: ActorClient,
        spec: TransitionSpec,
        *,
        seed: int,
        provenance: Provenance,
        lockstep: bool,
        park: Callable[[], None],
    ) -> None:
        """Wire an actor.

        Args:
            config: How it is run.
            env: The robot.
            policy: Takes the published weights.
            client: The way to the learner.
            spec: Layout of transitions.
            seed: With the actor's name and the position in its stream it determines every reset and random action.
            provenance: Who acts when no human does.
            lockstep: Wait for the learner's allowance before each step. For simulated time only.
            park: Brings the robot to rest.
        """
        self._config = config
        self._env = env
        self._policy = policy
        self._client = client
        self._spec = spec
        self._seed = seed
        self._provenance = provenance
        self._lockstep = lockstep
        self._park = park
        self._stop = threading.Event()
        self._policy_version = -1
        self._next_evaluation = 0

    def request_stop(self) -> None:
        """End `run` after the current step; may be called from a signal handler."""
        self._stop.set()

    def run(self) -> None:
        """Act until the learner or a person says stop. The robot is parked and the spool flushed at the end."""
        try:
            self._wait_for_policy()
            self._next_evaluation = self._due_after(self._client.environment_steps)
            while not self._stopping():
                self._evaluate_if_due()
                self._episode()
        except Interrupted:
            pass
        finally:
            self._park()
        self._client.flush(timeout_s=10.0)

    def _wait_for_policy(self) -> None:
        """No step before the first weights: a late joiner must not act on random ones."""
        while self._policy_version < 0:
            if self._stopping():
                raise Interrupted
            self._client.wait(timeout_s=0.1)
            self._take_new_weights()

    def _stopping(self) -> bool:
        self._client.raise_if_dead()
        return self._stop.is_set() or self._client.stop_requested

    def _take_new_weights(self) -> None:
        newest = self._client.latest_weights()
        if newest is not None:
            self._policy_version, payload = newest
            self._policy.load_weights(decode_weights(payload))

    def _episode(self) -> None:
        """One episode. Its number is the position of its first step in the stream: unique, also after a restart."""
        episode = self._client.next_sequence
        rng = np.random.default_rng(episode_seed(self._seed, self._config.name, episode))
        raw, _ = self._env.reset(seed=int(rng.integers(2**31)))
        observation = self._spec.observation(raw)
        step, total, done, info = 0, 0.0, False, {}
        while not done:
            if not self._wait_for_turn():
                return
            self._take_new_weights()
            action = self._act(observation, rng)
            raw, reward, terminated, truncated, info = self._env.step(action)
            next_observation = self._spec.observation(raw)
            self._client.send(
                self._spec.record(
                    observation=observation,
                    action=info.get("executed_action", action),
                    reward=float(reward),
                    next_observation=next_observation,
                    terminated=terminated,
                    truncated=truncated,
                    intervened=bool(info.get("intervened", False)),
                    provenance=Provenance.HUMAN if info.get("intervened") else self._provenance,
                    policy_version=self._policy_version,
                    episode=episode,
                    step=step,
                )
            )
            observation = next_observation
            step, total, done = step + 1, total + float(reward), terminated or truncated
        self._report_episode(episode, step, total, info)

    def _act(self, observation: dict[str, Any], rng: np.random.Generator) -> Any:
        if self._client.known_steps < self._config.random_steps:
            return rng.uniform(-1.0, 1.0, self._spec.action_space.shape).astype(np.float32)
        return self._policy.act(observation, deterministic=False)

    def _wait_for_turn(self) -> bool:
        """Hold in simulated time until the learner allows a step; on hardware, park while it is gone.

        Returns:
            Whether the episode may go on. After parking it may not: meanwhile the scene may have changed.
        """
        parked = False
        while not self._stopping():
            if self._lockstep and self._client.known_steps >= self._client.step_allowance:
                self._client.wait(timeout_s=0.1)
            elif not self._lockstep and self._client.seconds_since_contact > self._config.park_after_s:
                self._park()
                parked = True
                self._client.wait(timeout_s=0.1)
            else:
                return not parked
        raise Interrupted

    def _due_after(self, steps: int) -> int:
        every = self._config.evaluate_every
        return (steps // every + 1) * every if every else 0

    def _evaluate_if_due(self) -> None:
        steps = self._client.known_steps
        if not self._config.evaluate_every or steps < self._next_evaluation:
            return
        self._next_evaluation = self._due_after(steps)
        self._take_new_weights()
        result = evaluate(
            self._env,
            self._policy,
            self._spec,
            episodes=self._config.evaluation_episodes,
            seed=EVALUATION_SEED,
            policy_version=self._policy_version,
            environment_steps=steps,
            after_step=self._raise_if_stopped,
        )
        self._client.report(
            {"kind": "evaluation", **{f: getattr(result, f) for f in result.__struct_fields__}}
        )

    def _raise_if_stopped(self, _episode: int, _info: dict[str, Any]) -> None:
        # Only a person's stop interrupts an evaluation: the learner's comes when the run is complete.
        if self._stop.is_set():
            raise Interrupted

    def _report_episode(self, episode: int, steps: int, total: float, info: dict[str, Any]) -> None:
        rate = info.get("rate")
        self._client.report(
            {
                "kind": "episode",
                "actor": self._config.name,
                "episode": episode,
                "environment_steps": self._client.known_steps,
                "steps": steps,
                "return": total,
                "success": bool(info.get("success", False)),
                "policy_version": self._policy_version,
                "limit_hits": info.get("limit_hits", {}),
                "missed_deadlines": int(rate.missed) if rate else 0,
                "ticks": int(rate.ticks) if rate else 0,
                "worst_lateness_s": float(rate.worst_lateness_s) if rate else 0.0,
            }
        )
