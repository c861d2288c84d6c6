"""What an exported episode carries along so that it can come home unchanged.

Other formats have no place for all that we know of an episode. A keepsake holds the rest, and a fingerprint of the
whole: formats whose files have no checksums of their own cannot pass off damage as data.
"""

import hashlib
from collections.abc import Collection
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from controllers.config import Config, InputError
from robot_env.episode import SCHEMA_VERSION, EpisodeMetadata
from robot_env.episodes import Episode

VERSION = 1
# Written where a format keeps what describes all its episodes: they all must have a keepsake then.
MARK = "journeyman_keepsakes"


class Keepsake(Config):
    """Beside each exported episode, as JSON.

    Attributes:
        version: Of this record.
        metadata: The episode's.
        success: Whether the task was done.
        fingerprint: Of all that is kept bit for bit, see `fingerprint`.
        lossy: Cameras whose images are not.
    """

    version: int
    metadata: EpisodeMetadata
    success: bool
    fingerprint: str
    lossy: tuple[str, ...] = ()


def keepsake_of(episode: Episode, lossy: Collection[str] = ()) -> str:
    """The record of an episode, as JSON."""
    record = Keepsake(
        version=VERSION,
        metadata=episode.metadata,
        success=bool(episode.success),
        lossy=tuple(sorted(lossy)),
        fingerprint=fingerprint(episode, lossy),
    )
    return msgspec.json.encode(record).decode()


def read_keepsake(name: str, text: str | bytes) -> Keepsake:
    """The record from its JSON.

    Raises:
        InputError: It cannot be read, or is of another version.
    """
    try:
        keepsake = msgspec.json.decode(text, type=Keepsake)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError(
            f"{name}: its journeyman record cannot be read ({error}); export it again."
        ) from None
    if (keepsake.version, keepsake.metadata.schema_version) != (VERSION, SCHEMA_VERSION):
        raise InputError(
            f"{name}: its journeyman record has version {keepsake.version} for episodes of schema "
            f"{keepsake.metadata.schema_version}, but this program reads {VERSION} and {SCHEMA_VERSION}; use the "
            "program that exported it."
        )
    return keepsake


def check_unchanged(name: str, keepsake: Keepsake, episode: Episode) -> None:
    """Refuse what is not what was exported.

    Raises:
        InputError: It differs.
    """
    if fingerprint(episode, keepsake.lossy) != keepsake.fingerprint:
        raise InputError(
            f"{name}: its values are not those that were exported, so it was damaged or edited; copy or export it "
            "again, or accept the edited values with accept_changes=true."
        )


def fingerprint(episode: Episode, lossy: Collection[str] = ()) -> str:
    """SHA-256 over metadata, success and every array but the images of lossy cameras."""
    digest = hashlib.sha256(msgspec.json.encode(episode.metadata) + repr(bool(episode.success)).encode())
    arrays: dict[str, NDArray[Any]] = {
        name: getattr(episode, name)
        for name in ("actions", "rewards", "terminated", "truncated", "intervened")
    }
    arrays |= {f"observation.{k}": v for k, v in episode.observations.items() if k not in lossy}
    arrays |= {f"robot.{k}": v for k, v in episode.robot.items()}
    arrays["provenance"] = np.array([str(who) for who in episode.provenance], "U16")
    # To the nanosecond, which is what messages keep.
    arrays["elapsed_ns"] = np.rint(np.asarray(episode.elapsed_s) * 1e9).astype(np.int64)
    for name in sorted(arrays):
        values = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {values.dtype.str} {values.shape}".encode())
        digest.update(values.data if values.size else b"")
    return digest.hexdigest()
