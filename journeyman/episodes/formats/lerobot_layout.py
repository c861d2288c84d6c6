"""Where a LeRobotDataset of codebase version v3.0 keeps what.

Source: https://github.com/huggingface/lerobot, docs/source/lerobot-dataset-v3.mdx and src/lerobot/datasets.
"""

import json
from typing import Any, NamedTuple

import numpy as np

from journeyman.episodes.formats.libraries import library
from robot_env.episodes import Episode

VERSION = "v3.0"
INFO, STATS, TASKS = "meta/info.json", "meta/stats.json", "meta/tasks.parquet"
EPISODES = "meta/episodes/chunk-{chunk:03d}/file-{file:03d}.parquet"
DATA = "data/chunk-{chunk:03d}/file-{file:03d}.parquet"
VIDEO = "videos/{key}/chunk-{chunk:03d}/file-{file:03d}.mp4"
FILES_PER_CHUNK, DATA_FILE_MB, VIDEO_FILE_MB = 1000, 100, 200
STATE, ACTION, IMAGES = "observation.state", "action", "observation.images."

# Ours beside it: what LeRobot has no place for, one row per episode, and checksums of the videos.
KEPT, CHECKSUMS = "journeyman/episodes.parquet", "journeyman/sha256.json"

# Per-step arrays of an Episode as extra features, all of one boolean. `next.done` is what LeRobot's own code reads.
FLAGS = {"terminated": "next.terminated", "truncated": "next.truncated", "intervened": "intervened"}
_INDICES = ("frame_index", "episode_index", "index", "task_index")


class Shard(NamedTuple):
    """Number of a file."""

    chunk: int = 0
    file: int = 0

    def next(self) -> "Shard":
        """The one after it."""
        return (
            Shard(self.chunk, self.file + 1) if self.file + 1 < FILES_PER_CHUNK else Shard(self.chunk + 1, 0)
        )


def features(episode: Episode, video: dict[str, Any] | None) -> dict[str, dict[str, Any]]:
    """What `info.json` says of every column.

    Args:
        episode: One of those to be written.
        video: What is to be said of the encoding, if images go into videos.
    """
    seen = episode.observations
    found: dict[str, dict[str, Any]] = {}
    if seen["state"].shape[1]:
        found[STATE] = _vector(list(episode.metadata.state_names))
    found[ACTION] = _vector([f"action_{i}" for i in range(episode.actions.shape[1])])
    for key, values in seen.items():
        if key != "state":
            found[IMAGES + key] = _image(values.shape[1:], video)
    found["next.reward"] = _scalar("float32")
    for name in ("next.done", "next.success", *FLAGS.values()):
        found[name] = _scalar("bool")
    return found | {"timestamp": _scalar("float32")} | {name: _scalar("int64") for name in _INDICES}


def _vector(names: list[str]) -> dict[str, Any]:
    return {"dtype": "float32", "shape": [len(names)], "names": names}


def _scalar(dtype: str) -> dict[str, Any]:
    return {"dtype": dtype, "shape": [1], "names": None}


def _image(shape: tuple[int, ...], video: dict[str, Any] | None) -> dict[str, Any]:
    described: dict[str, Any] = {
        "dtype": "video" if video else "image",
        "shape": list(shape),
        "names": ["height", "width", "channels"],
    }
    if video:
        sizes = {"video.height": shape[0], "video.width": shape[1], "video.channels": 3}
        described["info"] = {**sizes, **video, "video.is_depth_map": False, "has_audio": False}
    return described


def column(values: Any, described: dict[str, Any]) -> Any:
    """A pyarrow column: numbers of one entry are plain, as LeRobot wants them, more are lists of fixed size."""
    pa = library("pyarrow")
    array = np.ascontiguousarray(values, described["dtype"]).reshape(len(values), -1)
    flat = pa.array(array.reshape(-1))
    size = array.shape[1]
    return flat if size == 1 else pa.FixedSizeListArray.from_arrays(flat, size)


def image_column(pngs: list[bytes]) -> Any:
    """A pyarrow column of images, as the datasets library keeps them."""
    pa = library("pyarrow")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [{"bytes": png, "path": f"frame-{index:06d}.png"} for index, png in enumerate(pngs)]
    return pa.array(rows, kind)


def tasks_table(tasks: list[str]) -> Any:
    """`tasks.parquet`, whose index is the task, which pandas finds by this description of its own."""
    pa = library("pyarrow")
    index = "__index_level_0__"
    described = {
        "index_columns": [index],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": None,
            }
        ],
        "columns": [
            {
                "name": "task_index",
                "field_name": "task_index",
                "pandas_type": "int64",
                "numpy_type": "int64",
                "metadata": None,
            },
            {
                "name": None,
                "field_name": index,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": None,
            },
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.0.0",
    }
    table = pa.table(
        {"task_index": pa.array(range(len(tasks)), pa.int64()), index: pa.array(tasks, pa.string())}
    )
    return table.replace_schema_metadata({"pandas": json.dumps(described)})
