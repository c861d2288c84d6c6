"""`journeyman config`: every key of a run, its value and what it means, as docstrings of the configuration say."""

import argparse
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import yaml

from agent.algorithm_config import load_algorithm
from agent.config import InputError
from controllers.config import did_you_mean
from journeyman.config import RunConfig, compose
from journeyman.learner import split_run
from journeyman.process import never_fail_to_print
from journeyman.run_directory import RunDirectory

_ENTRY = re.compile(r"^(\w+): (.*)$")
_INDENT = "    "
_NARROWEST, _WIDEST = 60, 120


class Key(NamedTuple):
    """One key.

    Attributes:
        name: Dotted, as in an override.
        value: What it is set to, as an override would say it.
        default: The same for what it is where nothing is said; None where it has no default.
        about: What it means; empty where no docstring tells.
    """

    name: str
    value: str
    default: str | None
    about: str


def run(options: argparse.Namespace) -> int:
    """Print the keys of `run=DIR`, or of overrides; words without `=` choose those that begin with them.

    Raises:
        InputError: There is no such run, an override does not fit, or no key begins so.
    """
    never_fail_to_print()  # For a pager, or `head`, that has seen enough.
    chosen = [word for word in options.overrides if "=" not in word]
    folder, rest = split_run([word for word in options.overrides if "=" in word])
    config = compose(rest) if folder is None else RunDirectory.open(folder, rest)[1]
    found = _chosen(list(keys_of(config)), chosen)
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    for key in found:
        changed = "" if key.default in (None, key.value) else f"   (default: {key.default})"
        print(f"{key.name}={key.value}{changed}")
        if key.about:
            print(textwrap.fill(key.about, width, initial_indent=_INDENT, subsequent_indent=_INDENT))
    sys.stdout.flush()
    return 0


def keys_of(config: RunConfig) -> Iterator[Key]:
    """Every key of a run, in the order in which they are written beside it."""
    for key in _keys(config, ""):
        if key.name == "algorithm.config":
            # Of this part the class is known, and with it what is not said.
            yield from _keys(load_algorithm(config.algorithm)[1], "algorithm.config.")
        else:
            yield key


def meanings(kind: type) -> dict[str, str]:
    """What the `Attributes:` of a class, and of those that it is made from, say of its fields.

    Args:
        kind: Whose docstring is in Google's style.
    """
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        name = ""
        for line in _attribute_lines(one.__doc__ or ""):
            if begins := _ENTRY.match(line):
                name = begins[1]
                found[name] = begins[2].strip()
            elif name and line.startswith(" "):
                found[name] += f" {line.strip()}"
    return found


def _attribute_lines(docstring: str) -> Iterator[str]:
    """The lines below `Attributes:`, without their common indentation."""
    _, found, rest = textwrap.dedent(" " * 4 + docstring).partition("Attributes:\n")
    block = rest.split("\n\n")[0] if found else ""
    yield from textwrap.dedent(block).splitlines()


def _keys(struct: msgspec.Struct, prefix: str) -> Iterator[Key]:
    about = meanings(type(struct))
    for field in msgspec.structs.fields(struct):
        value, name = getattr(struct, field.name), prefix + field.name
        if isinstance(value, msgspec.Struct):
            yield from _keys(value, f"{name}.")
        elif _holds_structs(value):
            for inner, part in value.items():
                yield from _keys(part, f"{name}.{inner}.")
        else:
            yield Key(name, _written(value), _default(field), about.get(field.name, ""))


def _holds_structs(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(part, msgspec.Struct) for part in value.values())
    )


def _default(field: msgspec.structs.FieldInfo) -> str | None:
    if field.default is not msgspec.NODEFAULT:
        return _written(field.default)
    return None if field.default_factory is msgspec.NODEFAULT else _written(field.default_factory())


def _written(value: Any) -> str:
    """One line of YAML."""
    text = yaml.safe_dump(
        msgspec.to_builtins(value), default_flow_style=True, width=float("inf"), sort_keys=False
    )
    return text.removesuffix("\n").removesuffix("\n...")


def _chosen(keys: list[Key], words: list[str]) -> list[Key]:
    """Those that begin with one of the words, or all where there is no word."""
    for word in words:
        if not any(_begins(key, word) for key in keys):
            names = {
                ".".join(key.name.split(".")[: depth + 1])
                for key in keys
                for depth in range(key.name.count(".") + 1)
            }
            parts = sorted({key.name.partition(".")[0] for key in keys})
            raise InputError(
                f"There is no key {word!r}; choose from {', '.join(parts)}, or what is below them, as learner.device."
                f"{did_you_mean(word, sorted(names))}"
            )
    return [key for key in keys if not words or any(_begins(key, word) for word in words)]


def _begins(key: Key, word: str) -> bool:
    return key.name == word or key.name.startswith(f"{word.rstrip('.')}.")
