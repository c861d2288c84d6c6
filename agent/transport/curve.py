"""Who may talk to the learner: everyone on this machine; on a network only holders of listed CURVE keys.

A pair of keys is two small files: `NAME.key`, to be given away, and `NAME.key_secret`, which never leaves its machine.
"""

import base64
import hashlib
import ipaddress
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq import auth
from zmq.utils import z85

from agent.config import InputError

PUBLIC, SECRET = ".key", ".key_secret"
_KEY_BYTES, _KEY_CHARACTERS = 32, 40
_MAX_FILE_BYTES = 1 << 14


@dataclass(frozen=True)
class ServerKeys:
    """The learner's keys.

    Attributes:
        secret_file: The learner's `*.key_secret`.
        clients_directory: Folder with the `*.key` of every actor that may connect.
    """

    secret_file: Path
    clients_directory: Path


@dataclass(frozen=True)
class ClientKeys:
    """An actor's keys.

    Attributes:
        secret_file: The actor's own `*.key_secret`.
        server_public_file: The learner's `*.key`.
    """

    secret_file: Path
    server_public_file: Path


def check_exposure(address: str, keys: ServerKeys | ClientKeys | None) -> None:
    """Refuse an address that strangers can reach, unless there are keys.

    Raises:
        InputError: The address is unusable, or open to a network or to other users without keys.
    """
    if address.startswith("ipc://"):
        # A file has an owner; a name in Linux's abstract namespace is open to every user of the machine.
        if keys is None and address.startswith("ipc://@"):
            raise InputError(
                f"Address {address!r} is open to every user of this machine and needs keys; "
                "name their folder by transport.keys=DIR, or use a file, such as ipc:///run/user/1000/learner."
            )
        return
    if not address.startswith("tcp://") or address.count(":") < 2:
        raise InputError(f"Address {address!r} cannot be used; write it like tcp://127.0.0.1:5555.")
    if keys is None and not _is_loopback(address):
        raise InputError(
            f"Address {address!r} is open to the network and needs keys; "
            "name their folder by transport.keys=DIR (`journeyman keys generate` makes them), or use tcp://127.0.0.1, "
            "through an SSH tunnel if need be."
        )


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("tcp://").rpartition(":")[0].removeprefix("[").removesuffix("]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name, an interface or `*`
        return False


def secure_server(socket: zmq.Socket, keys: ServerKeys) -> None:
    """Make a socket accept encrypted connections only; whose, is up to the `AllowList` of its context."""
    socket.curve_publickey, socket.curve_secretkey = load_secret(keys.secret_file)
    socket.curve_server = True
    # Without somebody who answers who may connect, libzmq would let in whoever has any key: let it refuse instead.
    socket.zap_domain, socket.zap_enforce_domain = b"journeyman", True


def secure_client(socket: zmq.Socket, keys: ClientKeys) -> None:
    """Make a socket connect encrypted, and to the holder of the learner's key only."""
    socket.curve_publickey, socket.curve_secretkey = load_secret(keys.secret_file)
    socket.curve_serverkey = load_public(keys.server_public_file)


def create_keys(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a pair of keys: `<name>.key`, to be given away, and `<name>.key_secret`, for its owner's eyes.

    Raises:
        InputError: There are some of that name, it is no name, or the folder cannot be written.
    """
    check_name(name)
    public_file, secret_file = directory / f"{name}{PUBLIC}", directory / f"{name}{SECRET}"
    public, secret = zmq.curve_keypair()
    while not chr(public[0]).isalnum():  # So that a command line takes it for no option.
        public, secret = zmq.curve_keypair()
    lines = [f'    public-key = "{public.decode()}"']
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if public_file.exists():
            raise FileExistsError
        note = f"Secret key of {name}: it never leaves this machine, and only its owner reads it."
        _write_new(secret_file, note, [*lines, f'    secret-key = "{secret.decode()}"'])
        write_public(public_file, name, public)
    except FileExistsError:
        raise InputError(
            f"{directory} has keys of {name!r}, which stay: whoever knows them would have to be told of others; "
            f"choose another name, or remove {public_file.name} and {secret_file.name} yourself."
        ) from None
    except OSError as error:
        raise InputError(f"No keys can be written to {directory}: {error.strerror}.") from None
    return public_file, secret_file


def write_public(path: Path, name: str, public: bytes) -> None:
    """Write a public key to a file that is not there yet.

    Raises:
        OSError: It is there, or cannot be written.
    """
    note = f"Public key of {name}, fingerprint {fingerprint(public)}."
    _write_new(path, note, [f'    public-key = "{public.decode()}"'])


def check_name(name: str) -> None:
    """Refuse what is no name of an actor, and so no name of a file.

    Raises:
        InputError: It is none.
    """
    if not re.fullmatch(r"[\w-]{1,100}", name):
        raise InputError(f"{name!r} cannot name a key; use letters, digits, _ and -, as in actor.name.")


def fingerprint(public: bytes) -> str:
    """80 bits of a public key's SHA-256, for people to compare: four groups of four letters and digits."""
    digest = base64.b32encode(hashlib.sha256(z85.decode(public)).digest()[:10]).decode()
    return "-".join(digest[at : at + 4] for at in range(0, 16, 4))


def parse_public(text: str) -> bytes:
    """A public key from its text, 40 characters of Z85.

    Raises:
        InputError: This is none.
    """
    encoded = text.strip().encode("ascii", "replace")
    if not _is_key(encoded):
        raise InputError(
            f"{text[:60]!r} is no CURVE key, nor a file; a key has {_KEY_CHARACTERS} characters of Z85."
        )
    return encoded


def load_public(path: Path) -> bytes:
    """The public key in a file, as text.

    Raises:
        InputError: There is none.
    """
    return _load(path)[0]


def load_secret(path: Path) -> tuple[bytes, bytes]:
    """A pair of keys, public and secret, as text.

    Raises:
        InputError: The file holds none, or other users can read it.
    """
    public, secret = _load(path)
    if secret is None:
        raise InputError(f"{path} holds no secret key; name the file that ends in {SECRET}.")
    if zmq.curve_public(secret) != public:
        raise InputError(f"The two keys in {path} are no pair; restore the file, or make new keys.")
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise InputError(f"Other users may open {path}, a secret key; say `chmod 600 {path}`.")
    return public, secret


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        if not path.exists():
            raise ValueError("it is not there")
        if not path.is_file() or path.stat().st_size > _MAX_FILE_BYTES:
            raise ValueError("it is no small file")
        public, secret = auth.load_certificate(path)
    except (OSError, ValueError, IndexError) as error:
        raise InputError(
            f"{path} cannot be read as a CURVE key ({error}); make keys with `journeyman keys generate`."
        ) from None
    if not _is_key(public) or not (secret is None or _is_key(secret)):
        raise InputError(
            f"{path} cannot be read as a CURVE key (a key has {_KEY_CHARACTERS} characters of Z85); restore it."
        )
    return public, secret


def _is_key(encoded: bytes) -> bool:
    try:
        return len(encoded) == _KEY_CHARACTERS and len(z85.decode(encoded)) == _KEY_BYTES
    except (KeyError, struct.error):  # Characters that are not of the alphabet, or a group beyond 32 bits.
        return False


def _write_new(path: Path, note: str, lines: list[str]) -> None:
    """Write a file of keys that nobody else may open, and that does not replace one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write("\n".join([f"# {note}", "metadata", "curve", *lines, ""]))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
