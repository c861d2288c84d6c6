"""Rules that hold for the repository as a whole."""

import ast
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("agent", "controllers", "journeyman", "reward_models", "robot_env", "sim")
SOURCES = [p for folder in (*PACKAGES, "bench", "launch") for p in sorted((ROOT / folder).rglob("*.py"))]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_launch_and_tests_are_not_packages() -> None:
    """A `launch` package would shadow ROS's own; the tests are imported by path."""
    assert not (ROOT / "launch" / "__init__.py").exists()
    assert not list((ROOT / "tests").rglob("__init__.py"))


def test_every_public_module_says_what_it_is() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in SOURCES
        if not (path.name.startswith("_") and path.name != "__init__.py")
        and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_every_folder_with_code_is_a_package() -> None:
    """A forgotten __init__.py still imports from the repository, and then not under mypy or import-linter."""
    folders = {path.parent for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES}
    assert not [str(f.relative_to(ROOT)) for f in sorted(folders) if not (f / "__init__.py").exists()]


def test_every_package_is_marked_as_typed() -> None:
    assert not [name for name in PACKAGES if not (ROOT / name / "py.typed").exists()]


def pins_of(name: str) -> dict[str, Version]:
    """Versions by package in a file of constraints."""
    lines = (line for line in (ROOT / name).read_text().splitlines() if not line.startswith("#"))
    return {
        canonicalize_name(name): Version(version) for name, _, version in (x.partition("==") for x in lines)
    }


@pytest.mark.parametrize(("extra", "own"), [("dev", []), ("external", ["constraints-external.txt"])])
def test_constraints_pin_every_direct_dependency_within_its_range(extra: str, own: list[str]) -> None:
    pins = pins_of("constraints.txt")
    for name in own:
        pins |= pins_of(name)
    required = [Requirement(x) for x in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"][extra])]
    assert not [str(r) for r in required if canonicalize_name(r.name) not in pins]
    assert not [str(r) for r in required if pins[canonicalize_name(r.name)] not in r.specifier]
    assert not [name for name, version in pins.items() if version.local]


def test_an_extra_with_constraints_of_its_own_gets_each_pin_once(tmp_path: Path) -> None:
    script = (ROOT / "tools" / "bootstrap.sh").read_text()
    function = script[script.index("constraints_for() {") :].partition("\n}\n")[0] + "\n}\n"
    joined = {}
    for extra in ("external", "dev", ""):
        command = ["sh", "-euc", f'{function}constraints_for "$1" "$2"', "sh", str(tmp_path), extra]
        finished = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        joined[extra] = finished.stdout.strip()
    assert joined["dev"] == joined[""] == "constraints.txt"
    lines = Path(joined["external"]).read_text().splitlines()
    names = [line.partition("==")[0].lower() for line in lines if not line.startswith("#")]
    assert len(names) == len(set(names))
    own, shared = pins_of("constraints-external.txt"), pins_of("constraints.txt")
    assert pins_of(joined["external"]) == shared | own
    assert {name for name in own if name in shared} == {"mink", "mujoco"}  # The others need not differ.


def test_import_contracts_hold() -> None:
    lint_imports = [str(Path(sys.executable).with_name("lint-imports")), "--no-logo", "--no-cache"]
    finished = subprocess.run(lint_imports, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stdout + finished.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy: setuptools would leave a build folder behind, and take old files from it."""
    copy = tmp_path_factory.mktemp("source") / "journeyman"
    copy.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE", *PACKAGES):
        subprocess.run(["cp", "-R", str(ROOT / name), str(copy)], check=True)
    output = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(output), str(copy)]
    subprocess.run(build, check=True, capture_output=True, timeout=120)
    return next(output.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_contains_all_data_and_nothing_else(wheel: Path) -> None:
    contained = set(zipfile.ZipFile(wheel).namelist())
    data = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".html", ".yaml", ".xml"} or path.name == "py.typed"
    }
    assert not data - contained
    folders = {name.split("/")[0] for name in contained}
    assert folders - set(PACKAGES) == {f"journeyman-{PROJECT['version']}.dist-info"}


@pytest.mark.slow
def test_the_wheel_works_from_any_folder(wheel: Path, tmp_path: Path) -> None:
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--target",
        str(tmp_path / "installed"),
    ]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True, timeout=120)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = f"""
import sys
sys.path.insert(0, {str(tmp_path / "installed")!r})
import journeyman.cli, journeyman.config
assert journeyman.__file__.startswith({str(tmp_path)!r}), journeyman.__file__
assert journeyman.config.compose(["task=lift_cube"]).task.name == "lift_cube"
sys.exit(journeyman.cli.main(["doctor"]))
"""
    command = [sys.executable, "-c", code]
    finished = subprocess.run(command, cwd=elsewhere, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert "mujoco" in finished.stdout
