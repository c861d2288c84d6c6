"""The names under which Prometheus finds figures of a run; docs/observing.md lists them."""

from typing import NamedTuple


class Metric(NamedTuple):
    """One metric.

    Attributes:
        name: Without `journeyman_`; of a counter without `_total`.
        help: For people.
        counter: Whether it only grows while a run lasts.
    """

    name: str
    help: str
    counter: bool = False


LEARNER = {
    "learner/environment_steps": Metric("environment_steps", "Transitions stored since the run began.", True),
    "learner/updates": Metric("updates", "Critic updates since the run began.", True),
    "learner/updates_per_s": Metric("updates_per_second", "Gradient steps, over the last second."),
    "learner/environment_steps_per_s": Metric(
        "environment_steps_per_second", "Transitions, over the last second."
    ),
    "learner/policy_version": Metric("policy_version", "Of the newest weights."),
    "learner/replay": Metric("replay_transitions", "Transitions kept for sampling."),
    "learner/actors": Metric("actors_connected", "Actors heard from lately."),
    "learner/malformed_messages": Metric(
        "malformed_messages", "Messages dropped since the learner started.", True
    ),
    "run/free_disk_bytes": Metric("free_disk_bytes", "Where the run is."),
    "run/checkpoint_age_s": Metric("checkpoint_age_seconds", "Time since the newest checkpoint."),
    "evaluation/success_rate": Metric("evaluation_success_ratio", "Of the last evaluation."),
    "evaluation/mean_return": Metric("evaluation_return", "Mean of the last evaluation."),
    "episode/return": Metric("episode_return", "Of the last episode."),
    "episode/success": Metric("episode_success", "Whether the last episode succeeded."),
    "episode/interventions": Metric(
        "episode_interventions", "How often a person took over in the last episode."
    ),
}
"""By the name of the figure."""

ACTOR = {
    "actor/environment_steps": Metric(
        "actor_known_environment_steps", "Of the run, as the actor knows them.", True
    ),
    "actor/items": Metric("actor_items", "Transitions and reports handed over since the run began.", True),
    "actor/unacknowledged": Metric(
        "actor_unacknowledged_transitions", "Handed over, and not known to be stored by the learner."
    ),
    "actor/policy_version": Metric(
        "actor_policy_version", "Of the weights that it acts by; -1 before the first."
    ),
    "actor/seconds_since_contact": Metric("actor_silence_seconds", "Time since the learner was last heard."),
    "actor/episodes": Metric("actor_episodes", "Episodes finished by this process.", True),
    "actor/ticks": Metric("actor_ticks", "Control periods of this process, as of its last episode.", True),
    "actor/missed_deadlines": Metric("actor_missed_deadlines", "Of these, those that ended too late.", True),
    "actor/worst_lateness_s": Metric("actor_worst_lateness_seconds", "Of these periods."),
}
"""By the name of the figure."""

LEARNING = Metric("learning", "What the algorithm measures of itself, such as losses, by name.")
STATE = Metric("actor_state", "1 for what the actor does now, 0 for everything else.")
EVENTS = Metric(
    "events", "What has gone wrong since the learner started, by kind of the journal's entry.", True
)
OFFLINE = Metric("offline_updates", "Updates made of the offline phase.", True)
WRITTEN = Metric(
    "last_figures_timestamp_seconds", "When there were figures last: a process that hangs stops here."
)
