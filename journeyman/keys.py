"""`journeyman keys ACTION`: CURVE keys for learners and actors on a network; see docs/security.md."""

import argparse
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.markup import escape

from agent.config import InputError
from agent.transport.curve import (
    PUBLIC,
    SECRET,
    check_name,
    create_keys,
    fingerprint,
    load_public,
    load_secret,
    parse_public,
    write_public,
)
from journeyman.episodes.words import make_console, make_table

_FOLDER = "folder="
_ALLOWED = "actors"  # Folder of the keys that may connect, as `transport.keys` wants it.
_USE = {
    "generate": "NAME",
    "show": "NAME or FILE",
    "authorise": "NAME FILE, or NAME and the text of a key",
    "revoke": "NAME",
    "list": "nothing more",
}


def run(options: argparse.Namespace) -> int:
    """Do one action in the folder of keys."""
    words = [word for word in options.words if not word.startswith(_FOLDER)]
    folders = [word.removeprefix(_FOLDER) for word in options.words if word.startswith(_FOLDER)]
    folder = Path(folders[-1] if folders else "keys")
    action, count = _ACTIONS[options.action]
    if len(words) != count:
        raise InputError(
            f"journeyman keys {options.action} takes {_USE[options.action]}, and folder=DIR; it was given "
            f"{len(words)} words: {' '.join(words) or 'none'}."
        )
    action(folder, words)
    return 0


def _generate(folder: Path, words: Sequence[str]) -> None:
    public, secret = create_keys(folder, words[0])
    print(f"{secret}: stays on this machine.")
    print(f"{public}: give it to who runs the other side.")
    _describe(public.stem, load_public(public))


def _show(folder: Path, words: Sequence[str]) -> None:
    name = words[0]
    path = Path(name)
    if path.suffix not in (PUBLIC, SECRET):
        check_name(name)
        path = folder / f"{name}{PUBLIC}"
        if not path.exists():
            path = folder / _ALLOWED / path.name
    if path.suffix == SECRET:
        load_secret(path)  # Says what is wrong with it.
    _describe(path.stem, load_public(path))


def _describe(name: str, public: bytes) -> None:
    """All that others may know of a key."""
    text = public.decode()
    print(f"name         {name}")
    print(f"fingerprint  {fingerprint(public)}")
    print(f"public key   {text}")
    if name != "learner":
        print(f"On the learner's machine: journeyman keys authorise {name} {shlex.quote(text)}")


def _authorise(folder: Path, words: Sequence[str]) -> None:
    name, given = words
    check_name(name)
    public = _given_key(given)
    for other, key in _allowed(folder).items():
        if key == public and other != name:
            raise InputError(
                f"This key may connect as {other!r} already; revoke that first, or make a key for {name!r}."
            )
        if other == name and key != public:
            raise InputError(
                f"{name!r} may connect with another key, of fingerprint {_printed(key)}; "
                f"if this one replaces it, say `journeyman keys revoke {name}` first."
            )
    path = folder / _ALLOWED / f"{name}{PUBLIC}"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            write_public(path, name, public)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror}.") from None
    print(f"{name} may connect, with the key of fingerprint {fingerprint(public)}.")
    print("Compare it with what `journeyman keys show` says on the actor's machine.")


def _given_key(given: str) -> bytes:
    """The key in a file, or the key that the text is."""
    path = Path(given)
    if path.suffix == SECRET:
        raise InputError(
            f"{given} is a secret key, which stays where it was made; give the file that ends in {PUBLIC}."
        )
    if path.suffix == PUBLIC or path.exists():
        return load_public(path)
    return parse_public(given)


def _revoke(folder: Path, words: Sequence[str]) -> None:
    name = words[0]
    check_name(name)
    path = folder / _ALLOWED / f"{name}{PUBLIC}"
    try:
        path.unlink()
    except FileNotFoundError:
        known = ", ".join(_allowed(folder)) or "nobody"
        raise InputError(f"{name!r} may not connect anyway; those who may are: {known}.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be removed: {error.strerror}.") from None
    print(f"{name} may not connect any more; a learner that runs turns it away within seconds.")


def _list(folder: Path, _words: Sequence[str]) -> None:
    table = make_table("", "name", "fingerprint", "what")
    rows = [(file, "own pair of keys") for file in sorted(folder.glob(f"*{SECRET}"))]
    have = {file.stem for file, _ in rows}
    rows += [(f, "key of another") for f in sorted(folder.glob(f"*{PUBLIC}")) if f.stem not in have]
    rows += [(file, "may connect") for file in sorted((folder / _ALLOWED).glob(f"*{PUBLIC}"))]
    if not rows:
        raise InputError(f"{folder} holds no keys; make some with `journeyman keys generate NAME`.")
    for file, what in rows:
        key = _key_or_none(file)
        table.add_row(
            escape(file.stem), _printed(key), what if key else "cannot be read: lets nobody in; remove it"
        )
    make_console().print(table)


def _allowed(folder: Path) -> dict[str, bytes | None]:
    """Keys that may connect by name; None for a file that holds none."""
    return {file.stem: _key_or_none(file) for file in sorted((folder / _ALLOWED).glob(f"*{PUBLIC}"))}


def _key_or_none(file: Path) -> bytes | None:
    try:
        return load_public(file)
    except InputError:
        return None


def _printed(key: bytes | None) -> str:
    return fingerprint(key) if key else "-"


_ACTIONS: dict[str, tuple[Callable[[Path, Sequence[str]], None], int]] = {
    "generate": (_generate, 1),
    "show": (_show, 1),
    "authorise": (_authorise, 2),
    "revoke": (_revoke, 1),
    "list": (_list, 0),
}
