"""How a learner is run: what a person may choose, and what is refused."""

from agent.config import Config
from agent.divergence import DivergenceConfig
from agent.sampling import SamplingConfig


class LearnerConfig(Config):
    """How the learner is run.

    Attributes:
        max_environment_steps: The run ends when this much experience is stored and learned from; 0 ends it with the
            offline phase.
        start_steps: Online transitions to wait for before the first update.
        demonstration_ratio: Share of demonstrations in every batch (RLPD 0.5).
        sampling: Which transitions are drawn.
        hindsight: So many transitions of a batch get another goal for each that keeps its own (`agent.hindsight`, 4 in
            the paper); 0 for none.
        n_steps: Rewards that a target sums up before it asks the critics, see `agent.sequences`.
        replay_capacity: Online transitions kept for sampling.
        intervention_capacity: Interventions kept for sampling as demonstrations; recorded ones all stay.
        publish_every: Blocks of updates (one block belongs to one environment step) between two publications.
        checkpoint_every: Environment steps, or updates of the offline phase, between two checkpoints.
        keep_checkpoints: How many of them stay; the best one does besides.
        lead_steps: How far, in environment steps, an actor in simulated time may be ahead of the learning.
        device: `auto` (a GPU if there is one), `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads for torch. More than one collapses when other processes are busy.
        divergence: When learning counts as diverged, and how often it may go back.
    """

    max_environment_steps: int = 6000
    start_steps: int = 300
    demonstration_ratio: float = 0.5
    sampling: SamplingConfig = SamplingConfig()
    hindsight: int = 0
    n_steps: int = 1
    replay_capacity: int = 200_000
    intervention_capacity: int = 20_000
    publish_every: int = 10
    checkpoint_every: int = 1000
    keep_checkpoints: int = 3
    lead_steps: int = 20
    device: str = "auto"
    threads: int = 1
    divergence: DivergenceConfig = DivergenceConfig()

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if self.max_environment_steps < 0:
            raise ValueError(
                f"learner.max_environment_steps {self.max_environment_steps} must not be negative"
            )
        for name in (
            "replay_capacity", "intervention_capacity", "publish_every", "checkpoint_every", "keep_checkpoints",
            "lead_steps", "threads", "n_steps",
        ):  # fmt: skip
            if getattr(self, name) < 1:
                raise ValueError(f"learner.{name} {getattr(self, name)} must be at least 1")
        if self.hindsight < 0:
            raise ValueError(f"learner.hindsight {self.hindsight} must not be negative")
        if self.start_steps < 1:
            raise ValueError(f"learner.start_steps {self.start_steps} must be at least 1")
        if not 0 <= self.demonstration_ratio <= 1:
            raise ValueError(
                f"learner.demonstration_ratio {self.demonstration_ratio} must lie between 0 and 1"
            )
