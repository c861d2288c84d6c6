"""`journeyman keys`: made once, shown without their secret, let in and turned away by name."""

import os
import stat

import pytest
import zmq

from agent.transport.curve import create_keys, fingerprint, load_public, load_secret
from journeyman.cli import main


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def keys(capsys):
    """Run an action; return its exit code and everything it printed."""

    def act(*words):
        code = main(["keys", *map(str, words)])
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return code, output.out + output.err

    return act


def test_a_pair_is_made_for_its_owner_only(keys, tmp_path):
    code, text = keys("generate", "arm-1", "folder=mine")
    assert code == 0
    files = sorted((tmp_path / "mine").iterdir())
    assert [file.name for file in files] == ["arm-1.key", "arm-1.key_secret"]
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o600, 0o600]
    public, secret = load_secret(files[1])
    assert public == load_public(files[0]) == zmq.curve_public(secret)
    assert fingerprint(public) in text
    assert secret.decode() not in text


@pytest.mark.parametrize("left", ["arm-1.key", "arm-1.key_secret"])
def test_keys_are_never_overwritten(keys, tmp_path, left):
    keys("generate", "arm-1")
    folder = tmp_path / "keys"
    for file in folder.iterdir():
        if file.name != left:
            file.unlink()
    before = (folder / left).read_bytes()
    code, text = keys("generate", "arm-1")
    assert code == 2
    assert "has keys of 'arm-1'" in text
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {left: before}


def test_show_says_what_others_may_know(keys, tmp_path):
    keys("generate", "arm-1")
    public, secret = load_secret(tmp_path / "keys" / "arm-1.key_secret")
    for given in ("arm-1", "keys/arm-1.key", "keys/arm-1.key_secret"):
        code, text = keys("show", given)
        assert code == 0
        assert public.decode() in text
        assert fingerprint(public) in text
        assert secret.decode() not in text


@pytest.mark.parametrize("as_text", [True, False])
def test_authorise_takes_a_file_or_its_text(keys, tmp_path, as_text):
    file, _ = create_keys(tmp_path / "arm", "whatever")
    public = load_public(file)
    code, text = keys("authorise", "arm-1", public.decode() if as_text else file)
    assert code == 0
    assert fingerprint(public) in text
    assert load_public(tmp_path / "keys/actors/arm-1.key") == public
    assert keys("authorise", "arm-1", file)[0] == 0, "twice is once"
    _, text = keys("list")
    assert "arm-1" in text
    assert fingerprint(public) in text
    assert keys("revoke", "arm-1")[0] == 0
    assert not list((tmp_path / "keys/actors").iterdir())


def test_one_key_one_name(keys, tmp_path):
    one, _ = create_keys(tmp_path / "one", "one")
    two, _ = create_keys(tmp_path / "two", "two")
    keys("authorise", "arm-1", one)
    code, text = keys("authorise", "arm-2", one)
    assert code == 2
    assert "may connect as 'arm-1' already" in text
    code, text = keys("authorise", "arm-1", two)
    assert code == 2
    assert "revoke arm-1" in text
    assert load_public(tmp_path / "keys/actors/arm-1.key") == load_public(one)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["generate"], "takes NAME"),
        (["generate", "../x"], "'../x' cannot name a key"),
        (["authorise", "arm-1", "short"], "'short' is no CURVE key"),
        (["authorise", "arm-1", "~" * 40], "is no CURVE key"),
        (["authorise", "arm-1", "#" * 40], "is no CURVE key"),  # of the alphabet, but beyond 32 bits
        (["authorise", "arm-1", "absent.key"], "absent.key cannot be read"),
        (["authorise", "arm-1", "arm-1.key_secret"], "is a secret key, which stays where it was made"),
        (["revoke", "arm-9"], "'arm-9' may not connect anyway; those who may are: nobody"),
        (["authorise", "arm-1", "absent.key"], "it is not there"),
        (["authorise", "arm-1", "absent"], "'absent' is no CURVE key, nor a file"),
        (["show", "arm-9"], "cannot be read as a CURVE key"),
        (["show", "arm-9"], "it is not there"),
        (["list"], "holds no keys"),
    ],
)
def test_one_sentence_for_what_cannot_be_done(keys, words, expected):
    code, text = keys(*words)
    assert code == 2
    assert expected in text
    assert len(text.strip().splitlines()) == 1


def test_a_secret_that_others_can_read_is_refused(keys, tmp_path):
    keys("generate", "arm-1")
    os.chmod(tmp_path / "keys/arm-1.key_secret", 0o644)
    code, text = keys("show", "keys/arm-1.key_secret")
    assert code == 2
    assert "chmod 600" in text


def test_a_secret_of_another_pair_is_refused(keys, tmp_path):
    for name in ("one", "two"):
        keys("generate", name)
    folder = tmp_path / "keys"
    one, two = (load_secret(folder / f"{name}.key_secret") for name in ("one", "two"))
    path = folder / "one.key_secret"
    path.write_bytes(path.read_bytes().replace(one[1], two[1]))
    code, text = keys("show", path)
    assert code == 2
    assert "are no pair" in text


def test_a_name_is_listed_that_cannot_be_read(keys, tmp_path):
    keys("generate", "learner")
    (tmp_path / "keys/actors").mkdir()
    (tmp_path / "keys/actors/broken.key").write_text("curve\n")
    code, text = keys("list")
    assert code == 0
    assert "cannot be read: lets nobody in" in text
