"""Parameters of soft actor-critic, and of all that is built on it; the papers are named in `agent.sac`."""

import math

from agent.config import Config
from agent.critic_heads import GaussianConfig, HLGaussConfig, check_head


class SACConfig(Config):
    """Defaults for vectors and episodes of tens of steps, with the ensemble and ratio that two CPU cores can carry.

    Attributes:
        batch_size: Transitions per critic update.
        utd_ratio: Critic updates per environment step; the actor is updated once after them.
        discount: Gamma. 0.97 with episodes of tens of steps, as HIL-SERL uses; 0.99 for longer ones.
        target_rate: Tau of the moving average of the target critics.
        critics: Size of the ensemble (RLPD 10, SAC 2).
        target_subset: Members drawn without replacement for each target; their minimum is used.
        actor_objective: Value the actor climbs: `mean` of all critics (RLPD) or their `min` (SAC).
        layer_norm: In critics and actor.
        hidden_sizes: Of critics and actor.
        actor_learning_rate: Adam.
        critic_learning_rate: Adam.
        temperature_learning_rate: Adam, on the logarithm.
        initial_temperature: RLPD 1.0, HIL-SERL 0.01.
        target_entropy_scale: Target entropy is minus this times the number of actions (RLPD 0.5, SAC 1.0).
        entropy_backup: Whether the target contains the entropy term.
        offline_updates: Steps of behaviour cloning of the actor, on demonstrations, before the first environment
            step; 0 begins with a random policy.
        actor_delay: Calls of `update` in which only the critics learn, about an actor that began as a clone.
        critic_head: How critics say what an action is worth: `mse` a number, `hl_gauss` a histogram, `gaussian` mean
            and deviation of the return (DSAC-T).
        hl_gauss: Options of that head.
        gaussian: Options of that head.
        reward_unit: Rewards are divided by it, so that values and the temperature count in it; None takes the greatest
            absolute reward seen so far, and then the scale of rewards does not matter.
        compile: Whether to compile the losses with torch.compile: half a minute before the first update, and a C++
            compiler on CPU, for updates that are up to twice as fast where critics are many.
    """

    batch_size: int = 256
    utd_ratio: int = 4
    discount: float = 0.97
    target_rate: float = 0.005
    critics: int = 2
    target_subset: int = 2
    actor_objective: str = "mean"
    layer_norm: bool = True
    hidden_sizes: tuple[int, ...] = (256, 256)
    actor_learning_rate: float = 3e-4
    critic_learning_rate: float = 3e-4
    temperature_learning_rate: float = 3e-4
    initial_temperature: float = 0.1
    target_entropy_scale: float = 0.5
    entropy_backup: bool = False
    offline_updates: int = 0
    actor_delay: int = 0
    critic_head: str = "mse"
    hl_gauss: HLGaussConfig = HLGaussConfig()
    gaussian: GaussianConfig = GaussianConfig()
    reward_unit: float | None = 1.0
    compile: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be meant."""
        if not 1 <= self.target_subset <= self.critics:
            raise ValueError(
                f"target_subset {self.target_subset} must lie between 1 and critics {self.critics}"
            )
        if self.batch_size < 2 or self.utd_ratio < 1:
            raise ValueError(
                f"batch_size {self.batch_size} must be at least 2 and utd_ratio {self.utd_ratio} at least 1"
            )
        if self.actor_delay < 0:
            raise ValueError(f"actor_delay {self.actor_delay} must not be negative")
        if self.offline_updates < 0:
            raise ValueError(f"offline_updates {self.offline_updates} must not be negative")
        positive = (
            "discount",
            "target_rate",
            "initial_temperature",
            "actor_learning_rate",
            "critic_learning_rate",
        )
        for name in (*positive, "temperature_learning_rate"):
            if not 0 < getattr(self, name) <= 10:
                raise ValueError(f"{name} {getattr(self, name)} must be positive and sane")
        if self.discount > 1 or self.target_rate > 1:
            raise ValueError(f"discount {self.discount} and target_rate {self.target_rate} must be at most 1")
        if not self.hidden_sizes or min(self.hidden_sizes) < 1:
            raise ValueError(f"hidden_sizes {self.hidden_sizes} must be positive")
        if self.actor_objective not in ("mean", "min"):
            raise ValueError(f"actor_objective {self.actor_objective!r} must be mean or min")
        check_head(self.critic_head)
        if self.reward_unit is not None and not 0 < self.reward_unit < math.inf:
            raise ValueError(f"reward_unit {self.reward_unit} must be a positive number, or be null")
        if self.reward_unit is None and self.hl_gauss.value_bound is not None:
            raise ValueError(
                f"hl_gauss.value_bound {self.hl_gauss.value_bound} must be null where reward_unit is: the bound would "
                "change with the unit"
            )
