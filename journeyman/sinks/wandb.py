"""Weights & Biases, for who keeps figures there: `sink=[tensorboard,wandb]`, with the extra `wandb` installed."""

from pathlib import Path
from typing import Any, Literal

from journeyman.sinks.config import SinkOptions, read_sink_options
from journeyman.sinks.sink import Sink, Values


class WandbOptions(SinkOptions):
    """Where figures go.

    Attributes:
        project: Of W&B.
        entity: User or team; W&B's default if null.
        mode: `offline` keeps everything in the run's folder, for `wandb sync` later; `online` sends it as it comes.
    """

    project: str = "journeyman"
    entity: str | None = None
    mode: Literal["offline", "online"] = "offline"


class WandbSink:
    """Implements `Sink`. A run that goes on goes on there, too: it is the same run of W&B.

    Args:
        options: Where to.
        run: Folder of the run.
    """

    def __init__(self, options: WandbOptions, run: Path) -> None:
        self._options = options
        self._folder = run

    def open(self) -> None:
        """Begin, or go on.

        Raises:
            ImportError: wandb is not installed.
            Exception: Whatever W&B has against it.
        """
        import wandb

        options, run = self._options, self._folder.resolve()
        self._run = wandb.init(
            project=options.project,
            entity=options.entity,
            mode=options.mode,
            dir=str(run),
            name=run.name,
            id=(run / "run_id").read_text().strip(),
            resume="allow",
        )
        # Not W&B's own step, which must never fall: an actor's report may be ahead of the learner's next one.
        self._run.define_metric("*", step_metric="environment_steps")
        self._run.define_metric("offline*", step_metric="offline_updates")

    def write(self, step: int, values: Values) -> None:
        """Log one row."""
        is_offline = any(name.startswith("offline") for name in values)
        self._run.log({**values, "offline_updates" if is_offline else "environment_steps": step})

    def close(self) -> None:
        """Send what is not yet sent."""
        self._run.finish()


def make(config: dict[str, Any], run: Path, process: str) -> Sink:
    """What `sink.wandb.factory` names.

    Raises:
        InputError: The configuration is not understood.
    """
    return WandbSink(read_sink_options(config, WandbOptions, "wandb"), run)
