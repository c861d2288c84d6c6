"""Who may talk to the learner: everyone on this machine; on a network only holders of listed CURVE keys."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

import zmq
from zmq import auth
from zmq.utils import z85

from agent.config import InputError


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


def create_keys(directory: Path, name: str) -> tuple[Path, Path]:
    """Make a pair of keys: `<name>.key`, to be given away, and `<name>.key_secret`, for its owner's eyes."""
    directory.mkdir(parents=True, exist_ok=True)
    before = os.umask(0o077)
    try:
        public, secret = auth.create_certificates(directory, name)
    finally:
        os.umask(before)
    return Path(public), Path(secret)


def check_exposure(address: str, keys: ServerKeys | ClientKeys | None) -> None:
    """Refuse an address that strangers can reach, unless there are keys.

    Raises:
        InputError: The address is unusable, or open to a network without keys.
    """
    if address.startswith("ipc://"):
        return
    if not address.startswith("tcp://") or address.count(":") < 2:
        raise InputError(f"Address {address!r} cannot be used; write it like tcp://127.0.0.1:5555.")
    if keys is None and not _is_loopback(address):
        raise InputError(
            f"Address {address!r} is open to the network and needs keys; "
            "name CURVE keys for learner and actor, or use tcp://127.0.0.1, through an SSH tunnel if need be."
        )


def _is_loopback(address: str) -> bool:
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a host name, an interface or `*`
        return False


def secure_server(socket: zmq.Socket, keys: ServerKeys) -> None:
    """Make a socket accept encrypted connections only; whose, is up to the `AllowList` of its context."""
    socket.curve_publickey, socket.curve_secretkey = _load_secret(keys.secret_file)
    socket.curve_server = True


def secure_client(socket: zmq.Socket, keys: ClientKeys) -> None:
    """Make a socket connect encrypted, and to the holder of the learner's key only."""
    socket.curve_publickey, socket.curve_secretkey = _load_secret(keys.secret_file)
    socket.curve_serverkey = _load(keys.server_public_file)[0]


class AllowList:
    """Answers ZeroMQ's question who may connect (ZAP, RFC 27), on the thread that polls `socket`.

    Without one in the context, libzmq lets in whoever has any key: create it before the server binds.
    """

    def __init__(self, context: zmq.Context, directory: Path) -> None:
        self._allowed = {_load(file)[0] for file in sorted(directory.glob("*.key"))}
        if not self._allowed:
            raise InputError(
                f"{directory} holds no public key (*.key) of an actor; copy there those that may connect."
            )
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind("inproc://zeromq.zap.01")

    def answer(self) -> None:
        """Answer one question."""
        version, request, _domain, _address, _identity, mechanism, *credentials = self.socket.recv_multipart()
        known = (
            mechanism == b"CURVE" and len(credentials) == 1 and z85.encode(credentials[0]) in self._allowed
        )
        status, text = (b"200", b"OK") if known else (b"400", b"unknown key")
        self.socket.send_multipart([version, request, status, text, b"", b""])


def _load_secret(path: Path) -> tuple[bytes, bytes]:
    public, secret = _load(path)
    if secret is None:
        raise InputError(f"{path} holds no secret key; name the file that ends in .key_secret.")
    return public, secret


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = auth.load_certificate(path)
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} cannot be read as a CURVE key ({error}); make keys with `create_keys`."
        ) from None
    return public, secret
