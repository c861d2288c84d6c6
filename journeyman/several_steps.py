"""Goals in hindsight, returns of n steps, chunks of actions: which reader a run wants, and where it makes no sense."""

from agent.algorithm_config import load_algorithm
from agent.config import InputError
from agent.hindsight import Goals, HindsightReader
from agent.reading import Reader, read_steps
from agent.sequences import ChunkReader, NStepReader
from journeyman.config import RunConfig


def make_reader(config: RunConfig, goals: Goals | None = None) -> Reader:
    """What becomes of drawn transitions before they are learned from.

    Args:
        config: Of the run.
        goals: Those that hindsight replaces, if it is to.

    Raises:
        InputError: The algorithm or the reward can learn from single steps only, or both are asked for at once.
    """
    steps, chunk = config.learner.n_steps, config.algorithm.chunk
    if steps == chunk == 1:
        return read_steps if goals is None else HindsightReader(goals, config.learner.hindsight)
    algorithm, parameters = load_algorithm(config.algorithm)
    wanted = f"learner.n_steps is {steps}" if steps > 1 else f"algorithm.chunk is {chunk}"
    if steps > 1 and chunk > 1:
        raise InputError(
            f"learner.n_steps is {steps} and algorithm.chunk {chunk}: the target of a chunk spans its {chunk} steps "
            "already; set one of the two to 1."
        )
    if goals is not None:
        raise InputError(
            f"{wanted} and learner.hindsight {config.learner.hindsight}: another goal would change what the steps in "
            "between are paid; set one of the two aside."
        )
    if config.reward.learner is not None:
        raise InputError(
            f"{wanted}, but reward={config.reward.name} pays for single steps while it learns: set it to 1, or choose "
            "another reward."
        )
    # Whoever learns from demonstrations alone, as a clone does, has no targets that could be wrong.
    clones = chunk > 1 and getattr(algorithm, "demonstrations_only", False)
    if not (clones or getattr(algorithm, "takes_discount", False)):
        raise InputError(
            f"{wanted}, but the targets of {config.algorithm.algorithm} are not made for several steps: set it to 1, "
            "or choose another algorithm."
        )
    discount = getattr(parameters, "discount", 1.0)
    return NStepReader(steps, discount) if chunk == 1 else ChunkReader(chunk, discount)
