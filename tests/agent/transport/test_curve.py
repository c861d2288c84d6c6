import shutil
import stat
from pathlib import Path

import pytest

from agent.config import InputError
from agent.transport.curve import ClientKeys, ServerKeys, create_keys


@pytest.fixture
def keys(tmp_path):
    """The learner's keys, and a function that makes an actor's, listed or not."""
    listed = tmp_path / "may-connect"
    listed.mkdir()
    server_public, server_secret = create_keys(tmp_path / "learner", "learner")

    def make(name: str, *, known: bool) -> ClientKeys:
        public, secret = create_keys(tmp_path / name, name)
        if known:
            shutil.copy(public, listed)
        return ClientKeys(secret, server_public)

    return ServerKeys(server_secret, listed), make


def test_secret_is_for_its_owner_only(tmp_path):
    _, secret = create_keys(tmp_path / "keys", "actor")
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600


def test_listed_actor_is_served(keys, serve, join, rows, take):
    server_keys, make = keys
    actor_keys = make("actor", known=True)
    server = serve("tcp://0.0.0.0:*", keys=server_keys)
    server.publish(1, b"weights")
    client = join(f"tcp://127.0.0.1:{server.address.rpartition(':')[2]}", keys=actor_keys)
    client.wait_welcome(20.0)
    client.send(rows(0, 3))
    assert take(server, 3) == [0, 1, 2]


@pytest.mark.parametrize("with_keys", [True, False])
def test_unlisted_or_keyless_actor_gets_nothing(keys, serve, join, with_keys, take, rows):
    server_keys, make = keys
    make("listed", known=True)
    stranger_keys = make("stranger", known=False) if with_keys else None
    server = serve(keys=server_keys)
    server.publish(1, b"weights")
    client = join(server.address, keys=stranger_keys)
    client.send(rows(0, 1))
    with pytest.raises(InputError, match="check the address, the keys"):
        client.wait_welcome(1.0)
    assert client.latest_weights() is None
    assert server.poll() is None
    assert server.actors() == []


def test_actor_does_not_talk_to_a_false_learner(keys, serve, join, tmp_path):
    server_keys, make = keys
    actor_keys = make("actor", known=True)
    _, false_secret = create_keys(tmp_path / "false", "false")
    server = serve(keys=ServerKeys(false_secret, server_keys.clients_directory))
    client = join(server.address, keys=actor_keys)
    with pytest.raises(InputError, match="No learner answered"):
        client.wait_welcome(1.0)
    assert server.actors() == []


def test_keys_that_cannot_be_read(keys, serve, join, tmp_path):
    server_keys, make = keys
    with pytest.raises(InputError, match="holds no public key"):
        serve(keys=server_keys)
    actor_keys = make("actor", known=True)
    missing = Path(tmp_path / "missing.key_secret")
    with pytest.raises(InputError, match=r"missing\.key_secret cannot be read"):
        serve(keys=ServerKeys(missing, server_keys.clients_directory))
    public = next(server_keys.clients_directory.glob("*.key"))
    with pytest.raises(InputError, match="holds no secret key"):
        join("tcp://127.0.0.1:5555", keys=ClientKeys(public, actor_keys.server_public_file))
    with pytest.raises(InputError, match=r"nothing\.key cannot be read"):
        join("tcp://127.0.0.1:5555", keys=ClientKeys(actor_keys.secret_file, tmp_path / "nothing.key"))
