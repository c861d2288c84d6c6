"""The actor: drives the environment at its rate and streams every transition to the learner."""

import re
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import msgspec
import numpy as np

from agent.algorithm import replan
from agent.config import Config
from agent.evaluation import evaluate_agents
from agent.fitness import Agent, UnfitActionError, UnfitObservationError, fit_action
from agent.transition import Provenance, TransitionSpec
from agent.transport.clients import ClientGroup
from agent.turns import ActorState, BrokenOff, Faults, Interrupted, Observer, Turns


class ActorConfig(Config):
    """How an actor is run.

    Attributes:
        name: Unique among the actors of a learner.
        random_steps: Uniformly random actions at the start of the run, before the policy acts.
        evaluate_every: Environment steps between two evaluations; 0 never evaluates.
        evaluation_episodes: Episodes of each.
        evaluate_at_start: Whether the policy is evaluated before the first environment step, too: of one that was
            pretrained, which may get worse before it gets better.
        park_after_s: Without word from the learner for so long, the robot is parked until it answers again.
        fault_retry_s: While the robot cannot be driven, the time between two attempts.
    """

    name: str = "actor-0"
    random_steps: int = 300
    evaluate_every: int = 1000
    evaluation_episodes: int = 20
    evaluate_at_start: bool = False
    park_after_s: float = 30.0
    fault_retry_s: float = 1.0

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not re.fullmatch(r"[\w-]{1,100}", self.name):
            raise ValueError(f"actor.name {self.name!r} must consist of letters, digits, _ and -")
        if self.random_steps < 0 or self.evaluate_every < 0 or self.evaluation_episodes < 1:
            raise ValueError(
                f"actor.random_steps {self.random_steps} and evaluate_every {self.evaluate_every} must not be "
                f"negative, and evaluation_episodes {self.evaluation_episodes} must be at least 1"
            )
        if not self.park_after_s > 0 or not self.fault_retry_s > 0:
            raise ValueError(
                f"actor.park_after_s {self.park_after_s} and fault_retry_s {self.fault_retry_s} must be positive"
            )


EVALUATION_SEED = 1_000_000
"""Evaluation episode i starts from reset seed EVALUATION_SEED + i in every run: all policies meet the same starts."""


def episode_seed(seed: int, actor: str, position: int) -> list[int]:
    """Entropy of what begins at a position of an actor's stream: no two actors and no two episodes share it."""
    return [seed, zlib.crc32(actor.encode()), position]


@dataclass
class _Tally:
    """An episode so far; an intervention is a row of steps in which a person acted."""

    steps: int = 0
    total: float = 0.0
    interventions: int = 0
    intervened_steps: int = 0
    inference_s: list[float] = field(default_factory=list)
    _intervened: bool = False

    def add(self, reward: float, intervened: bool) -> None:
        self.steps += 1
        self.total += reward
        self.interventions += intervened and not self._intervened
        self.intervened_steps += intervened
        self._intervened = intervened

    def inference(self) -> dict[str, float]:
        """How long the policy took to decide: median, 99th percentile and longest; empty where it never did."""
        if not self.inference_s:
            return {}
        median_s, p99_s, worst_s = np.quantile(self.inference_s, [0.5, 0.99, 1.0], method="inverted_cdf")
        return {"median_s": float(median_s), "p99_s": float(p99_s), "worst_s": float(worst_s)}


class Actor:
    """The control loop never waits for the network, except where time is simulated and waiting costs nothing.

    Requests (`request_stop`, `pause`, `resume`) and properties are for any thread, all else for the one of `run`.
    """

    def __init__(
        self,
        config: ActorConfig,
        env: gymnasium.Env[Any, Any],
        agents: Mapping[str, Agent],
        spec: TransitionSpec,
        *,
        seed: int,
        provenance: Provenance,
        lockstep: bool,
        park: Callable[[], None],
        fault: Faults = (),
        observer: Observer | None = None,
    ) -> None:
        """Wire an actor.

        Args:
            config: How it is run.
            env: The robot. Where there are several agents, `info["agent"]` of a reset says who acts in the episode.
            agents: Who acts, by name.
            spec: Layout of transitions.
            seed: With the actor's name and the position in its stream it determines every reset and random action.
            provenance: Who acts when no human does.
            lockstep: Wait for the learner's allowance before each step. For simulated time only.
            park: Brings the robot to rest.
            fault: What the environment raises while the robot cannot be driven but may come back. Everything else
                that it raises ends the actor.
            observer: Is told what happens; by default it is printed.
        """
        self._config = config
        self._env = env
        self._agents = dict(agents)
        self._agent = next(iter(self._agents.values()))
        self._client = client = ClientGroup({name: agent.client for name, agent in agents.items()})
        self._spec = spec
        self._seed = seed
        self._provenance = provenance
        self._fault: tuple[type[Exception], ...] = (
            UnfitObservationError,
            *(fault if isinstance(fault, tuple) else (fault,)),
        )
        self._observer = observer or Observer()
        self._turns = Turns(
            config.name,
            client,
            self._observer,
            park=park,
            fault=fault,
            lockstep=lockstep,
            park_after_s=config.park_after_s,
            fault_retry_s=config.fault_retry_s,
        )
        self._episode_number = -1
        self._next_evaluation = 0

    @property
    def clients(self) -> ClientGroup:
        """The ways to the learners."""
        return self._client

    @property
    def name(self) -> str:
        """Unique among the actors of a learner."""
        return self._config.name

    @property
    def state(self) -> ActorState:
        """What it does now."""
        return self._turns.state

    @property
    def policy_version(self) -> int:
        """Of the weights that are acted by; -1 before the first."""
        return self._agent.policy_version

    @property
    def episode(self) -> int:
        """Number of the newest episode, as in the transitions; -1 before the first."""
        return self._episode_number

    def request_stop(self) -> None:
        """End `run` after the current step or command of a reset; may be called from a signal handler."""
        self._turns.request_stop()

    def pause(self) -> None:
        """Park the robot after the current step or command of a reset, until `resume`; the episode ends there.

        An evaluation in progress is repeated later. The learner goes on, and new weights keep coming.
        """
        self._turns.request_pause()

    def resume(self) -> None:
        """Go on with a new episode."""
        self._turns.request_resume()

    def run(self) -> None:
        """Act until the learner or a person says stop. The robot is parked and the spool flushed at the end."""
        try:
            self._wait_for_policy()
            steps = self._client.environment_steps
            at_start = self._config.evaluate_at_start and steps == 0
            self._next_evaluation = 0 if at_start else self._due_after(steps)
            while True:
                try:
                    self._wait_for_policy()
                    self._evaluate_if_due()
                    self._episode()
                except BrokenOff:
                    continue
                except UnfitActionError as error:
                    self._policy_failed(error)
                except self._fault as error:
                    self._robot_failed(error)
        except Interrupted:
            pass
        finally:
            self._turns.park(ActorState.STOPPED, "")
            self._observer.on_event("The actor ends; the robot is parked.")
        # Who is not taken need not wait: the next process of its spool sends what is left.
        if self._client.refusal is None:
            self._client.flush(timeout_s=10.0)

    def _wait_for_policy(self) -> None:
        """No step before the first weights, or before newer ones: nobody acts on random ones, or on unfit ones."""
        while not all(agent.is_fit for agent in self._agents.values()):
            self._turns.rest(ActorState.WAITING_FOR_POLICY)
            self._client.wait(timeout_s=0.1)
            self._take_new_weights()

    def _take_new_weights(self) -> None:
        for agent in self._agents.values():
            self._take_weights_of(agent)

    def _take_weights_of(self, agent: Agent) -> None:
        """The newest, unless they are unfit: then the learner is told, and asked for others."""
        if (refusal := agent.take_new_weights()) is not None:
            self._refuse_policy(agent, refusal)

    def _episode(self) -> None:
        """One episode. Its number is the position of its first step in the streams: unique, also after a restart."""
        self._turns.rest(ActorState.RESETTING)
        episode = self._episode_number = self._client.position
        rng = np.random.default_rng(episode_seed(self._seed, self._config.name, episode))
        options = {"keep_going": self._turns.heed_person, "environment_steps": self._client.known_steps}
        raw, started = self._env.reset(seed=int(rng.integers(2**31)), options=options)
        if len(self._agents) > 1:
            self._agent = self._agents[started["agent"]]
        agent = self._agent
        replan(agent.policy)
        observation = self._spec.observation(raw)
        tally, done, info, who = _Tally(), False, {}, ActorState.LEARNING
        while not done:
            if not self._turns.wait_for_turn(who):
                return
            self._take_weights_of(agent)
            action = self._act(agent, observation, rng, tally)
            raw, reward, terminated, truncated, info = self._env.step(action)
            next_observation = self._spec.observation(raw)
            intervened = bool(info.get("intervened", False))
            if intervened:
                replan(agent.policy)  # What it had in mind was for another way.
            who = ActorState.TELEOP if intervened else ActorState.LEARNING
            self._turns.robot_works(who)
            agent.client.send(
                self._spec.record(
                    observation=observation,
                    action=info.get("executed_action", action),
                    reward=float(reward),
                    next_observation=next_observation,
                    terminated=terminated,
                    truncated=truncated,
                    intervened=intervened,
                    provenance=Provenance.HUMAN if intervened else self._provenance,
                    policy_version=agent.policy_version,
                    episode=episode,
                    step=tally.steps,
                )
            )
            tally.add(float(reward), intervened)
            observation, done = next_observation, terminated or truncated
        self._report_episode(agent, episode, tally, info, started.get("reset_attempts", ()))

    def _act(self, agent: Agent, observation: dict[str, Any], rng: np.random.Generator, tally: _Tally) -> Any:
        if self._client.known_steps < self._config.random_steps:
            return rng.uniform(-1.0, 1.0, self._spec.action_space.shape).astype(np.float32)
        started_s = time.perf_counter()
        action = fit_action(agent.policy, observation, self._spec, deterministic=False)
        tally.inference_s.append(time.perf_counter() - started_s)
        return action

    def _due_after(self, steps: int) -> int:
        every = self._config.evaluate_every
        return (steps // every + 1) * every if every else 0

    def _evaluate_if_due(self) -> None:
        steps = self._client.known_steps
        if not self._config.evaluate_every or steps < self._next_evaluation:
            return
        self._turns.rest(ActorState.EVALUATING)
        self._take_new_weights()
        results = evaluate_agents(
            self._env,
            {name: agent.policy for name, agent in self._agents.items()},
            self._spec,
            episodes=self._config.evaluation_episodes,
            seed=EVALUATION_SEED,
            after_step=self._turns.after_evaluation_step,
            keep_going=self._turns.heed_person,
        )
        self._next_evaluation = self._due_after(steps)  # Not before: what was broken off is still due.
        for name, result in results.items():
            agent = self._agents[name]
            at = {"policy_version": agent.policy_version, "environment_steps": steps}
            agent.client.report({"kind": "evaluation", **msgspec.structs.asdict(result), **at})

    def _report_episode(
        self,
        agent: Agent,
        episode: int,
        tally: _Tally,
        info: dict[str, Any],
        resets: Sequence[Any],
    ) -> None:
        """Report an episode; `resets` are the attempts that it took to begin it, with `policy` and `success`."""
        rate, trouble = info.get("rate"), info.get("trouble", "")
        if trouble:
            self._observer.on_event(f"The episode ends: {trouble}.")
        report = {
            "kind": "episode",
            "actor": self._config.name,
            "episode": episode,
            "environment_steps": self._client.known_steps,
            "steps": tally.steps,
            "return": tally.total,
            "interventions": tally.interventions,
            "intervened_steps": tally.intervened_steps,
            "success": bool(info.get("success", False)),
            "trouble": trouble,
            "resets": len(resets),
            "failed_resets": sum(not attempt.success for attempt in resets),
            "human_resets": sum(attempt.policy == "operator" for attempt in resets),
            "start": info.get("start", "task"),
            "policy_version": agent.policy_version,
            "limit_hits": info.get("limit_hits", {}),
            "observation_ages": {
                f"{source}.{name}": value  # A report is not nested deeper.
                for source, ages in info.get("observation_ages", {}).items()
                for name, value in ages.items()
            },
            "missed_deadlines": int(rate.missed) if rate else 0,
            "ticks": int(rate.ticks) if rate else 0,
            "worst_lateness_s": float(rate.worst_lateness_s) if rate else 0.0,
            "lateness": rate.lateness.summary() if rate else {},
            "inference": tally.inference(),
        }
        if "true_success" in info:
            report["true_success"] = bool(info["true_success"])
        agent.client.report(report)
        self._observer.on_episode(report)

    def _robot_failed(self, error: Exception) -> None:
        """The episode or evaluation in progress is dropped; what was measured before is the learner's already."""
        if self._turns.robot_failed(str(error)):
            self._client.report(
                {
                    "kind": "fault",
                    "actor": self._config.name,
                    "environment_steps": self._client.known_steps,
                    "message": str(error),
                }
            )
        self._turns.wait_to_retry()

    def _policy_failed(self, error: UnfitActionError) -> None:
        """Park the robot until there are newer weights; the episode or evaluation in progress is dropped."""
        agent = next(agent for agent in self._agents.values() if agent.policy is error.policy)
        agent.is_fit = False
        why = f"Policy version {agent.policy_version} gave {error}: the robot is parked until there is a newer one."
        self._turns.park(ActorState.WAITING_FOR_POLICY, why)
        self._refuse_policy(agent, why)

    def _refuse_policy(self, agent: Agent, why: str) -> None:
        self._observer.on_event(why)
        agent.client.report(
            {
                "kind": "policy_refused",
                "actor": self._config.name,
                "environment_steps": self._client.known_steps,
                "message": why,
            }
        )
