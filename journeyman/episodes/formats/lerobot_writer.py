"""Writes a LeRobotDataset, episode by episode."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from controllers.config import InputError
from journeyman.episodes.formats import lerobot_layout as layout
from journeyman.episodes.formats.keepsake import MARK, keepsake_of
from journeyman.episodes.formats.lerobot_layout import Shard, column, image_column
from journeyman.episodes.formats.lerobot_stats import Stats, image_stats, numeric_stats, plain, together
from journeyman.episodes.formats.libraries import library
from journeyman.episodes.formats.videos import CODECS, VideoFile
from robot_env.episodes import Episode
from robot_env.mcap_messages import png_of


class LerobotWriter:
    """One dataset: `add` per episode, then `close`."""

    def __init__(self, target: Path, first: Episode, images: str) -> None:
        """Begin it.

        Args:
            target: A folder that does not exist yet.
            first: The first episode; the others have its sizes.
            images: `png` or a key of `CODECS`.

        Raises:
            InputError: LeRobot cannot hold such episodes.
        """
        rate_hz = first.metadata.task.get("control_rate_hz")
        if not isinstance(rate_hz, int | float) or rate_hz < 1 or rate_hz != int(rate_hz):
            raise InputError(
                f"LeRobot counts whole frames per second, but control_rate_hz is {rate_hz}; resample first."
            )
        self._target = target
        self._codec = CODECS.get(images)
        self._rate_hz = int(rate_hz)
        self._robot = first.metadata.robot
        self._features = layout.features(
            first, {**self._codec.description, "video.fps": self._rate_hz} if self._codec else None
        )
        self._cameras = [key for key in first.observations if key != "state"]
        self._tasks: list[str] = []
        self._episodes: list[dict[str, Any]] = []
        self._stats: list[dict[str, Stats]] = []
        self._rows = 0
        self._data_shard, self._video_shard = Shard(), dict.fromkeys(self._cameras, Shard())
        self._data: Any = None
        self._kept: Any = None
        self._videos: dict[str, VideoFile] = {}
        for folder in ("meta", "data", "journeyman"):
            (target / folder).mkdir(parents=True)

    def add(self, episode: Episode) -> None:
        """Append an episode: its T steps as rows, its last observation beside them."""
        steps = len(episode.actions)
        described = self._place(episode, steps)
        columns = self._columns(episode, len(self._episodes), described["tasks"][0])
        stats = self._statistics(episode, columns)
        self._write_data(columns, episode)
        for camera in self._cameras if self._codec else ():
            described |= self._write_video(camera, episode.observations[camera][:-1])
        described |= {
            f"stats/{key}/{name}": v for key, part in stats.items() for name, v in plain(part).items()
        }
        self._write_kept(episode)
        self._episodes.append(described)
        self._stats.append(stats)
        self._rows += steps

    def close(self) -> None:
        """Finish all files."""
        pa, pq = library("pyarrow"), library("pyarrow.parquet")
        for video in self._videos.values():
            video.close()
        for writer in (self._data, self._kept):
            writer.close()
        path = self._target / layout.EPISODES.format(**Shard()._asdict())
        path.parent.mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(self._episodes), path, write_page_checksum=True)
        pq.write_table(layout.tasks_table(self._tasks), self._target / layout.TASKS, write_page_checksum=True)
        self._write_json(layout.INFO, self._info())
        stats = {key: plain(together([part[key] for part in self._stats])) for key in self._stats[0]}
        self._write_json(layout.STATS, stats)
        videos = sorted(self._target.glob("videos/**/*.mp4"))
        sums = {str(p.relative_to(self._target)): hashlib.sha256(p.read_bytes()).hexdigest() for p in videos}
        self._write_json(layout.CHECKSUMS, sums)

    def _place(self, episode: Episode, steps: int) -> dict[str, Any]:
        """The episode's line but for videos and statistics; may begin a new data file."""
        if (
            self._data is not None
            and self._path(layout.DATA, self._data_shard).stat().st_size > layout.DATA_FILE_MB * 1e6
        ):
            self._data.close()
            self._data, self._data_shard = None, self._data_shard.next()
        task = str(episode.metadata.task.get("name", "unknown"))
        if task not in self._tasks:
            self._tasks.append(task)
        return {
            "episode_index": len(self._episodes),
            "tasks": [task],
            "length": steps,
            "data/chunk_index": self._data_shard.chunk,
            "data/file_index": self._data_shard.file,
            "dataset_from_index": self._rows,
            "dataset_to_index": self._rows + steps,
            "meta/episodes/chunk_index": 0,
            "meta/episodes/file_index": 0,
        }

    def _columns(self, episode: Episode, number: int, task: str) -> dict[str, NDArray[Any]]:
        """Every column but images."""
        steps = len(episode.actions)
        counted = np.arange(steps)
        done = episode.terminated | episode.truncated
        values: dict[str, NDArray[Any]] = {
            layout.STATE: episode.observations["state"][:-1],
            layout.ACTION: episode.actions,
            "next.reward": episode.rewards.astype(np.float32),
            "next.done": done | (counted == steps - 1),
            "next.success": (counted == steps - 1) & bool(episode.success),
            **{theirs: getattr(episode, ours) for ours, theirs in layout.FLAGS.items()},
            "timestamp": counted / self._rate_hz,
            "frame_index": counted,
            "episode_index": np.full(steps, number),
            "index": self._rows + counted,
            "task_index": np.full(steps, self._tasks.index(task)),
        }
        return {key: values[key] for key in self._features if key in values}

    def _statistics(self, episode: Episode, columns: dict[str, NDArray[Any]]) -> dict[str, Stats]:
        stats = {key: numeric_stats(values) for key, values in columns.items()}
        return stats | {layout.IMAGES + c: image_stats(episode.observations[c][:-1]) for c in self._cameras}

    def _write_data(self, columns: dict[str, NDArray[Any]], episode: Episode) -> None:
        pa = library("pyarrow")
        arrays = {key: column(values, self._features[key]) for key, values in columns.items()}
        for camera in () if self._codec else self._cameras:
            arrays[layout.IMAGES + camera] = image_column(
                [png_of(image) for image in episode.observations[camera][:-1]]
            )
        table = pa.table({key: arrays[key] for key in self._features if key in arrays})
        if self._data is None:
            self._data = self._parquet(
                self._path(layout.DATA, self._data_shard), table.schema.with_metadata({MARK: "1"})
            )
        self._data.write_table(table.cast(self._data.schema))

    def _write_video(self, camera: str, images: NDArray[np.uint8]) -> dict[str, Any]:
        """Append to the camera's video, or begin the next."""
        key = layout.IMAGES + camera
        assert self._codec is not None
        if camera in self._videos and self._videos[camera].size_bytes > layout.VIDEO_FILE_MB * 1e6:
            self._videos.pop(camera).close()
            self._video_shard[camera] = self._video_shard[camera].next()
        if camera not in self._videos:
            path = self._path(layout.VIDEO, self._video_shard[camera], key=key)
            self._videos[camera] = VideoFile(path, self._codec, self._rate_hz, *images.shape[1:3])
        video, shard = self._videos[camera], self._video_shard[camera]
        from_s = video.frames / self._rate_hz
        video.add(images)
        return {
            f"videos/{key}/chunk_index": shard.chunk,
            f"videos/{key}/file_index": shard.file,
            f"videos/{key}/from_timestamp": from_s,
            f"videos/{key}/to_timestamp": video.frames / self._rate_hz,
        }

    def _write_kept(self, episode: Episode) -> None:
        """What the rows do not hold: the last observation, exact rewards, the robot, and the keepsake."""
        pa = library("pyarrow")
        lossy = self._cameras if self._codec is CODECS["h264"] else ()
        row: dict[str, Any] = {
            "keepsake": keepsake_of(episode, lossy),
            "last.state": episode.observations["state"][-1].tolist(),
            "rewards": episode.rewards.tolist(),
            "provenance": episode.provenance.tolist(),
            "elapsed_s": np.asarray(episode.elapsed_s, np.float64).tolist(),
            **{f"robot.{key}": values.ravel().tolist() for key, values in episode.robot.items()},
            **{f"last.{camera}": png_of(episode.observations[camera][-1]) for camera in self._cameras},
        }
        kinds = {
            "keepsake": pa.string(),
            "last.state": pa.list_(pa.float32()),
            "provenance": pa.list_(pa.string()),
        }
        kinds |= {f"last.{camera}": pa.binary() for camera in self._cameras}
        schema = pa.schema([(key, kinds.get(key, pa.list_(pa.float64()))) for key in row])
        if self._kept is None:
            self._kept = self._parquet(self._target / layout.KEPT, schema)
        self._kept.write_table(pa.Table.from_pylist([row], schema=schema))

    def _parquet(self, path: Path, schema: Any) -> Any:
        path.parent.mkdir(parents=True, exist_ok=True)
        return library("pyarrow.parquet").ParquetWriter(path, schema, write_page_checksum=True)

    def _info(self) -> dict[str, Any]:
        count = len(self._episodes)
        template = {"chunk": "{chunk_index:03d}", "file": "{file_index:03d}", "key": "{video_key}"}
        data_path, video_path = (
            path.replace("{chunk:03d}", template["chunk"])
            .replace("{file:03d}", template["file"])
            .replace("{key}", template["key"])
            for path in (layout.DATA, layout.VIDEO)
        )
        return {
            "codebase_version": layout.VERSION,
            "robot_type": self._robot,
            "total_episodes": count,
            "total_frames": self._rows,
            "total_tasks": len(self._tasks),
            "chunks_size": layout.FILES_PER_CHUNK,
            "data_files_size_in_mb": layout.DATA_FILE_MB,
            "video_files_size_in_mb": layout.VIDEO_FILE_MB,
            "fps": self._rate_hz,
            "splits": {"train": f"0:{count}"},
            "data_path": data_path,
            "video_path": video_path if self._codec else None,
            "features": self._features,
        }

    def _path(self, template: str, shard: Shard, **names: str) -> Path:
        return self._target / template.format(**shard._asdict(), **names)

    def _write_json(self, name: str, content: Any) -> None:
        (self._target / name).write_text(json.dumps(content, indent=4))
