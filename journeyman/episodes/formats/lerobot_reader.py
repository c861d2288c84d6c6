"""Reads a LeRobotDataset of codebase version v3.x, ours or others'."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats import lerobot_layout as layout
from journeyman.episodes.formats.foreign import Recording
from journeyman.episodes.formats.keepsake import MARK, check_unchanged, read_keepsake
from journeyman.episodes.formats.lerobot_layout import Shard
from journeyman.episodes.formats.libraries import library, refusing
from journeyman.episodes.formats.videos import read_frames
from robot_env.episode_checks import check_episode
from robot_env.episodes import Episode
from robot_env.mcap_messages import decoded_rgb

_INTERVENED = ("intervened", "complementary_info.is_intervention")
Row = dict[str, Any]


class LerobotReader:
    """An open dataset.

    Attributes:
        episodes: What is said of each episode, but for its statistics.
        is_ours: Whether it was exported by us, and so must have all that we write beside it.
    """

    def __init__(self, source: Path) -> None:
        """Read the description.

        Raises:
            InputError: It is no LeRobotDataset that can be read.
        """
        self._source = source
        self._features, self._rate_hz, self._robot = _read_info(source / layout.INFO)
        tasks = self._rows(source / layout.TASKS)
        with refusing(source / layout.TASKS, "the tasks"):
            self._tasks = {
                row["task_index"]: next(str(v) for k, v in row.items() if k != "task_index") for row in tasks
            }
        shards = sorted((source / "meta/episodes").glob("*/*.parquet"))
        if not shards:
            raise InputError(f"{source}: it has no {layout.EPISODES.format(chunk=0, file=0)}; copy it again.")
        self.episodes = [row for path in shards for row in self._rows(path, skip="stats/")]
        self._table: tuple[Path, Any] | None = None
        self.is_ours = (source / layout.KEPT).exists() or MARK.encode() in self._schema_metadata()

    def recording(self, row: Row) -> tuple[str, Recording]:
        """Name and contents of an episode. Its observations have as many rows as there are actions.

        Raises:
            InputError: It is damaged, incomplete, or not in order.
        """
        with refusing(self._source / "meta/episodes", "an episode"):
            number, length = int(row["episode_index"]), int(row["length"])
            shard = Shard(int(row["data/chunk_index"]), int(row["data/file_index"]))
        name = f"episode {number}"
        columns = self._columns(name, number, length, shard)
        self._check_order(name, columns)
        seen = {_short(key): columns[key] for key in columns if key.startswith("observation.")}
        for key in self._keys("video"):
            seen[_short(key)] = self._video(name, key, row, length)
        optional = {ours: columns.get(theirs) for ours, theirs in layout.FLAGS.items()}
        success = columns.get("next.success")
        return name, Recording(
            observations=seen,
            # One entry is stored as a plain number.
            actions=columns["action"].reshape(length, -1),
            rewards=columns.get("next.reward"),
            terminated=optional["terminated"],
            truncated=optional["truncated"],
            intervened=next((columns[key] for key in _INTERVENED if key in columns), None),
            success=None if success is None else bool(success.any()),
            control_rate_hz=self._rate_hz,
            robot=self._robot,
            task=self._tasks.get(int(columns["task_index"][0]) if "task_index" in columns else 0, ""),
            names={_short(key): names for key in columns if (names := self._names(key))},
            elapsed_s=columns["timestamp"].astype(np.float64) - columns["timestamp"][0],
        )

    def exported(self, name: str, number: int, recording: Recording, accept_changes: bool) -> Episode:
        """The episode that was exported, out of its rows and what lies beside them.

        Raises:
            InputError: Something is missing or was changed.
        """
        kept = self._kept(name, number)
        keepsake = read_keepsake(name, kept["keepsake"])
        measured, steps = keepsake.metadata.measured, len(recording.actions)
        rewards = np.array(kept["rewards"], np.float64)
        if recording.rewards is None or not np.array_equal(rewards.astype(np.float32), recording.rewards):
            rewards = np.zeros(0) if recording.rewards is None else recording.rewards.astype(np.float64)
        last: dict[str, NDArray[Any]] = {"state": np.array(kept["last.state"], np.float32)}
        with refusing(self._source / layout.KEPT, f"the last images of {name}"):
            last |= {
                key: decoded_rgb(kept[f"last.{key}"]) for key in recording.observations if key != "state"
            }
            state = recording.observations.get("state", np.zeros((steps, 0), np.float32))
            state = state.reshape(steps, -1)
            seen = {
                key: np.concatenate([values, last[key][None]])
                for key, values in {**recording.observations, "state": state}.items()
            }
            robot = {
                key: np.array(kept[f"robot.{key}"], np.float64).reshape(steps + 1, -1) for key in measured
            }
            if "gripper_width_m" in robot:
                robot["gripper_width_m"] = robot["gripper_width_m"][:, 0]
            episode = Episode(
                metadata=keepsake.metadata,
                observations=seen,
                actions=recording.actions,
                rewards=rewards,
                **{flag: np.asarray(getattr(recording, flag), bool) for flag in layout.FLAGS},
                provenance=np.array(kept["provenance"], "U16"),
                robot=robot,
                elapsed_s=np.array(kept["elapsed_s"], np.float64),
                success=keepsake.success,
            )
        if not accept_changes:
            check_unchanged(name, keepsake, episode)
        check_episode(name, episode)
        return episode

    def check_videos(self) -> None:
        """Refuse videos that are not those that were exported: damage in them shows as other pictures.

        Raises:
            InputError: One differs, or is missing.
        """
        path = self._source / layout.CHECKSUMS
        with refusing(path, "the checksums"):
            sums = dict(json.loads(path.read_text()))
        for name in {
            p.relative_to(self._source).as_posix() for p in self._source.glob("videos/**/*.mp4")
        } | sums.keys():
            video = self._source / name
            if not video.is_file() or hashlib.sha256(video.read_bytes()).hexdigest() != sums.get(name):
                raise InputError(
                    f"{video}: it is not as it was exported, so it was damaged or edited; copy it again."
                )

    def _columns(self, name: str, number: int, length: int, shard: Shard) -> dict[str, NDArray[Any]]:
        """Every column of an episode, images decoded."""
        path = self._source / layout.DATA.format(**shard._asdict())
        with refusing(path, name):
            if self._table is None or self._table[0] != path:
                file = library("pyarrow.parquet").ParquetFile(path, page_checksum_verification=True)
                self._table = (
                    path,
                    file.read(columns=[k for k, f in self._features.items() if f["dtype"] != "string"]),
                )
            table = self._table[1]
            equal = library("pyarrow.compute").equal(table["episode_index"], number)
            rows = table.filter(equal)
            found = {key: _array(rows[key], self._features[key]) for key in rows.column_names}
        missing = [key for key in ("action", "timestamp", "frame_index") if key not in found]
        missing += [
            key for key in self._features if key not in found and key not in self._keys("video", "string")
        ]
        if missing:
            raise InputError(f"{name}: it has no column {missing[0]}.")
        if rows.num_rows != length or not length:
            raise InputError(f"{name}: it has {rows.num_rows} of its {length} frames.")
        return found

    def _check_order(self, name: str, columns: dict[str, NDArray[Any]]) -> None:
        wrong = np.flatnonzero(columns["frame_index"] != np.arange(len(columns["frame_index"])))
        if wrong.size:
            found = int(columns["frame_index"][wrong[0]])
            raise InputError(
                f"{name}: its frames are not in order, one is missing, or one is there twice: frame {wrong[0]} calls "
                f"itself {found}."
            )
        late = np.diff(columns["timestamp"].astype(np.float64)) * self._rate_hz
        wrong = np.flatnonzero(~(np.abs(late - 1.0) <= 0.5))
        if wrong.size:
            raise InputError(
                f"{name}: frame {wrong[0] + 1} comes {late[wrong[0]] / self._rate_hz:.3f} s after the one before it, "
                f"but there are {self._rate_hz:g} a second."
            )

    def _video(self, name: str, key: str, row: Row, length: int) -> NDArray[np.uint8]:
        with refusing(self._source / "meta/episodes", name):
            shard = Shard(int(row[f"videos/{key}/chunk_index"]), int(row[f"videos/{key}/file_index"]))
            from_s = float(row[f"videos/{key}/from_timestamp"])
        path = self._source / layout.VIDEO.format(key=key, **shard._asdict())
        frames = read_frames(path, from_s, length, self._rate_hz)
        if list(frames.shape[1:]) != list(self._features[key]["shape"]):
            raise InputError(f"{path}: its images are {frames.shape[1:]}, but {layout.INFO} says otherwise.")
        return frames

    def _keys(self, *dtypes: str) -> list[str]:
        return [key for key, described in self._features.items() if described["dtype"] in dtypes]

    def _names(self, key: str) -> tuple[str, ...]:
        """Names of the entries of a feature, whichever way they are given."""
        names = self._features[key].get("names")
        if isinstance(names, dict):
            names = next(iter(names.values()), None)
        return tuple(map(str, names)) if isinstance(names, list) else ()

    def _kept(self, name: str, number: int) -> Row:
        path = self._source / layout.KEPT
        with refusing(path, f"what belongs to {name}"):
            file = library("pyarrow.parquet").ParquetFile(path, page_checksum_verification=True)
            (row,) = file.read_row_group(number).to_pylist()
        return row

    def _rows(self, path: Path, skip: str = "\0") -> list[Row]:
        with refusing(path, "the table"):
            file = library("pyarrow.parquet").ParquetFile(path, page_checksum_verification=True)
            names = [name for name in file.schema_arrow.names if not name.startswith(skip)]
            return file.read(columns=names).to_pylist()

    def _schema_metadata(self) -> dict[bytes, bytes]:
        for path in sorted(self._source.glob("data/*/*.parquet"))[:1]:
            with refusing(path, "the table"):
                return library("pyarrow.parquet").read_schema(path).metadata or {}
        return {}


def _read_info(path: Path) -> tuple[dict[str, dict[str, Any]], float, str]:
    """Features, frames per second, robot."""
    with refusing(path, "the description"):
        info = dict(json.loads(path.read_text()))
        version = str(info["codebase_version"])
        if not version.startswith("v3."):
            raise InputError(
                f"{path}: the dataset is of version {version}, but v3.0 is read; convert it with LeRobot's own "
                "convert_dataset_v21_to_v30."
            )
        features = {
            str(key): {
                **described,
                "dtype": str(described["dtype"]),
                "shape": [int(n) for n in described["shape"]],
            }
            for key, described in info["features"].items()
        }
        rate_hz = float(info["fps"])
        if not 0.0 < rate_hz < 1e6:
            raise InputError(f"{path}: fps is {rate_hz}, but must be positive.")
        return features, rate_hz, str(info.get("robot_type") or "")


def _array(column: Any, described: dict[str, Any]) -> NDArray[Any]:
    """A column, shape (T, ...)."""
    values = column.to_pylist()
    if described["dtype"] == "image":
        return np.stack([decoded_rgb(value["bytes"]) for value in values])
    array = np.array(values)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"its values are {array.dtype}")
    return array.astype(described["dtype"])


def _short(key: str) -> str:
    """`observation.images.front` is our `front`, `observation.state` our `state`."""
    return key.removeprefix("observation.").removeprefix("images.")
