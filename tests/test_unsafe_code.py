"""No data can run code: the syntax tree of every Python file is searched, so that comments and texts do not count."""

import ast
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "agent",
    "controllers",
    "journeyman",
    "reward_models",
    "robot_env",
    "sim",
    "bench",
    "launch",
    "tests",
)
FILES = [ROOT / "setup.py", *(p for folder in FOLDERS for p in sorted((ROOT / folder).rglob("*.py")))]

MODULES = {
    "cPickle",
    "cloudpickle",
    "dill",
    "joblib",
    "jsonpickle",
    "marshal",
    "multiprocessing.managers",
    "pickle",
    "pickletools",
    "shelve",
}
"""Not to be imported: most of them call what a file tells them to."""

CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.popen",
    "os.system",
    "pandas.read_pickle",
    "shutil.unpack_archive",
    "ssl._create_unverified_context",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "tempfile.mktemp",
    "torch.hub.load",
    "torch.jit.load",
    "multiprocessing.connection.Client",
    "multiprocessing.connection.Listener",
    "yaml.full_load",
    "yaml.full_load_all",
    "yaml.unsafe_load",
    "yaml.unsafe_load_all",
}
"""Never to be called."""

KEYWORDS = {"allow_pickle": "False", "shell": "False", "trust_remote_code": "False", "weights_only": "True"}
"""What they may be, whatever is called."""

METHODS = {"extract", "extractall", "from_pretrained"}
"""Of archives, which may write anywhere, and of hubs, which may run what they download."""

ALLOWED = {
    "bench/transport_others.py": {
        "pickle": "measures what a pattern costs that others use, between its own processes"
    },
    "tests/agent/test_pretrained.py": {"__import__": "stands in for Python's own, and hides a library"},
    "tests/journeyman/test_malicious_files.py": {
        "allow_pickle=True": "shows that its files are dangerous",
        "torch.load without weights_only=True": "the same",
        "yaml.unsafe_load": "the same",
    },
    "tests/journeyman/episodes/formats/test_damage.py": {"pickle": "makes files to be damaged"},
    "tests/journeyman/episodes/formats/test_lerobot.py": {"extractall": "unpacks a file of this repository"},
    "tests/journeyman/episodes/formats/test_serl.py": {"pickle": "makes files as SERL does"},
    "journeyman/episodes/formats/pickled.py": {"pickletools": "tells instructions apart, and only looks"},
    "tests/journeyman/episodes/formats/test_pickled.py": {
        "pickle": "makes the files that must do no harm",
        "pickletools": "counts instructions",
    },
}
"""By file: what it may use after all, and why."""


def interesting_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Imports, calls and dictionaries, wherever they are; `ast.walk` takes three times as long."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call | ast.Dict):
            yield node
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                waiting += [part for part in value if isinstance(part, ast.AST)]
            elif isinstance(value, ast.AST) and value._fields:
                waiting.append(value)


def names_of(nodes: Sequence[ast.AST]) -> dict[str, str]:
    """What each imported name stands for, in full, wherever in the file it is imported."""
    found = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for alias in node.names:
                top = alias.name.partition(".")[0]
                found[alias.asname or top] = alias.name if alias.asname else top
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def imports_of(nodes: Sequence[ast.AST]) -> Iterator[str]:
    """Full names of all modules that are imported, and of what is imported from them."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "import_module":
            yield from (
                a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str)
            )


def dotted(function: ast.expr) -> str:
    """`a.b.c` as it stands; what is no name begins with a dot."""
    parts = []
    while isinstance(function, ast.Attribute):
        parts.append(function.attr)
        function = function.value
    parts.append(function.id if isinstance(function, ast.Name) else "")
    return ".".join(reversed(parts))


def full_name(function: ast.expr, names: dict[str, str]) -> str:
    """Of what is called: `s` is `os.system` after `from os import system as s`."""
    first, dot, rest = dotted(function).partition(".")
    return (names.get(first, first) + dot + rest).removeprefix("builtins.")


def unsafe_call(call: ast.Call, names: dict[str, str]) -> str | None:
    """What is wrong with a call that could run code hidden in data."""
    name = full_name(call.func, names)
    given = {k.arg: ast.unparse(k.value) for k in call.keywords if k.arg in KEYWORDS}
    if name in CALLS:
        return name
    if isinstance(call.func, ast.Attribute) and call.func.attr in METHODS:
        return call.func.attr
    if name.startswith("os.exec") or name.startswith("os.spawn"):
        return name
    if name == "torch.load" and given.get("weights_only") != "True":
        return "torch.load without weights_only=True"
    if name in {"yaml.load", "yaml.load_all"} and "Safe" not in ast.unparse(call):
        return f"{name} without a safe loader"
    for key, only in KEYWORDS.items():
        if given.get(key, only) != only:
            return f"{key}={given[key]}"
    return None


def unsafe_entry(node: ast.Dict) -> str | None:
    """What is wrong with options that are collected before they are passed on."""
    for key, value in zip(node.keys, node.values, strict=True):
        if not (isinstance(key, ast.Constant) and isinstance(value, ast.Constant) and key.value in KEYWORDS):
            continue
        if str(value.value) != KEYWORDS[key.value]:
            return f"{key.value}={value.value}"
    return None


def unsafe_uses(source: str) -> list[str]:
    """Everything in a file that could run code hidden in data."""
    nodes = list(interesting_nodes(ast.parse(source)))
    names = names_of(nodes)
    modules = {m for name in imports_of(nodes) for m in MODULES if name == m or name.startswith(f"{m}.")}
    found: list[str | None] = [*sorted(modules)]
    found += [unsafe_call(node, names) for node in nodes if isinstance(node, ast.Call)]
    found += [unsafe_entry(node) for node in nodes if isinstance(node, ast.Dict)]
    return [use for use in found if use is not None]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "import pickle as harmless",
        "def f():\n    from pickle import loads",
        "import_module('pickle')",
        "from multiprocessing import managers",
        "eval(text)",
        "exec(text)",
        "import builtins\nbuiltins.eval(text)",
        "import builtins as b\nb.exec(text)",
        "compile(text, '', 'exec')",
        "import os\nos.system(text)",
        "from os import system as s\ns(text)",
        "import os\nos.execv(path, words)",
        "import subprocess\nsubprocess.run(text, shell=True)",
        "import subprocess as s\ns.Popen(text, shell=maybe)",
        "options = {'shell': True}",
        "import torch\ntorch.load(path)",
        "from torch import load as f\nf(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "anything(path, weights_only=False)",
        "import torch\ntorch.hub.load(repository, model)",
        "import numpy as np\nnp.load(path, allow_pickle=True)",
        "import numpy\nnumpy.load(path, allow_pickle=maybe)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "import yaml\nyaml.unsafe_load(text)",
        "import tarfile\ntarfile.open(path).extractall(folder)",
        "import zipfile\nzipfile.ZipFile(path).extract(name)",
        "import shutil\nshutil.unpack_archive(path)",
        "Model.from_pretrained(name)",
        "load(name, trust_remote_code=True)",
        "options = {'trust_remote_code': True}",
    ],
)
def test_the_scanner_finds_unsafe_code(line: str) -> None:
    assert unsafe_uses(line)


@pytest.mark.parametrize(
    "line",
    [
        "network.eval()",
        "spec.compile()",
        "import torch\ntorch.compile(function)",
        "import re\nre.compile(text)",
        "import torch\ntorch.load(path, weights_only=True)",
        "import numpy as np\nnp.load(path)",
        "import yaml\nyaml.safe_load(text)",
        "import yaml\nyaml.load(text, Loader=yaml.CSafeLoader)",
        "import subprocess\nsubprocess.run(words, shell=False)",
        "# eval(text)",
        "'''os.system(text), and import pickle'''",
    ],
)
def test_the_scanner_lets_safe_code_pass(line: str) -> None:
    assert not unsafe_uses(line)


def test_no_data_can_run_code() -> None:
    found = {}
    for path in FILES:
        name = str(path.relative_to(ROOT))
        if uses := [use for use in unsafe_uses(path.read_text()) if use not in ALLOWED.get(name, {})]:
            found[name] = uses
    assert not found


def test_what_is_allowed_is_still_needed() -> None:
    for name, reasons in ALLOWED.items():
        assert set(reasons) <= set(unsafe_uses((ROOT / name).read_text())), name
