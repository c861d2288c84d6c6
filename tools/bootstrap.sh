#!/bin/sh
# Everything `make` needs before it can run anything. Three steps, each safe to repeat:
#
#   tools/bootstrap.sh venv DIR            find a Python and make the virtual environment DIR
#   tools/bootstrap.sh install DIR [EXTRA] install torch, then journeyman (editable) with its pinned dependencies: those of
#                                          constraints.txt, after those of constraints-EXTRA.txt where there is one
#   tools/bootstrap.sh system DIR          see that Debian's libraries for rendering are there
#
# Environment: PYTHON (interpreter to use), TORCH_INDEX (package index to take torch from), AMENT_PREFIX_PATH (set where
# a ROS 2 is sourced, whose rclpy is then used instead of the wheels of the `ros` extra).
set -eu

MINIMUM="3.11"

say() { printf '%s\n' "==> $*"; }
fail() { printf '%s\n' "error: $*" >&2; exit 1; }

# The prefix that lets this user run apt-get: empty for root, "sudo" where it asks no password; fails otherwise.
privilege() {
    command -v apt-get >/dev/null 2>&1 || return 1
    if [ "$(id -u)" -eq 0 ]; then
        echo ""
    elif command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        echo "sudo"
    else
        return 1
    fi
}

# apt_install PACKAGE...: fails quietly where this user may not install, or there is no such package.
apt_install() {
    sudo_or_nothing=$(privilege) || return 1
    say "Installing Debian packages: $*"
    # A fresh machine has no package lists yet; an outdated list is only refreshed when it did not do.
    for attempt in as_is refreshed; do
        if [ "$attempt" = refreshed ]; then
            $sudo_or_nothing apt-get update -qq </dev/null >/dev/null 2>&1 || return 1
        fi
        if $sudo_or_nothing env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq \
            --no-install-recommends "$@" </dev/null >/dev/null 2>&1; then
            return 0
        fi
    done
    return 1
}

is_new_enough() { "$1" -c "import sys; sys.exit(sys.version_info < (${MINIMUM%.*}, ${MINIMUM#*.}))" 2>/dev/null; }

version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])'; }

find_python() {
    for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.14; do
        if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 && is_new_enough "$candidate"; then
            command -v "$candidate"
            return 0
        fi
    done
    return 1
}

explain_missing_python() {
    if command -v python3 >/dev/null 2>&1; then
        found="$(command -v python3) is $(python3 -c 'import platform; print(platform.python_version())')"
    else
        found="no python3 was found"
    fi
    fail "journeyman needs Python $MINIMUM or newer, but $found." \
        "Install one (sudo apt-get install python3 python3-venv; or a newer release, or pyenv, conda, uv)" \
        "and say where it is: make PYTHON=/path/to/python3.11"
}

make_venv() {
    venv=$1
    # A half-made environment is worthless: make it again.
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    if [ -n "${PYTHON:-}" ]; then
        is_new_enough "$PYTHON" || fail "PYTHON=$PYTHON is not a Python $MINIMUM or newer; give the path of one that is."
    fi
    if ! python=$(find_python); then
        apt_install python3 python3-venv || true
        python=$(find_python) || explain_missing_python
    fi
    if ! "$python" -c "import ensurepip, venv" 2>/dev/null; then
        package="python$(version_of "$python")-venv"
        apt_install "$package" || fail "$python cannot make virtual environments. Run this, then make again:" \
            "sudo apt-get install $package"
    fi
    say "Making the virtual environment $venv with $("$python" --version) ($python)"
    "$python" -m venv --clear "$venv"
}

pip_install() { "$python" -m pip install --quiet --quiet --disable-pip-version-check --constraint "$constraints" "$@"; }

# The file of pins for an extra: an extra's own pins count before those of constraints.txt.
constraints_for() {
    own="constraints-$2.txt"
    [ -f "$own" ] || { echo constraints.txt; return; }
    awk -F '==' 'NR == FNR { own[tolower($1)]; print; next } !(tolower($1) in own)' "$own" constraints.txt > "$1/constraints.txt"
    echo "$1/constraints.txt"
}

has_nvidia_gpu() { [ -e /proc/driver/nvidia/version ] || command -v nvidia-smi >/dev/null 2>&1; }

# Whether rclpy should come from the package index: not where a ROS 2 is sourced, nor where there are no wheels.
has_ros_wheels() {
    if [ -n "${AMENT_PREFIX_PATH:-}" ]; then
        say "Using the ROS 2 that is sourced here (${AMENT_PREFIX_PATH%%:*})"
        return 1
    fi
    [ "$(uname -s)" = Linux ] && pip_install --dry-run ros-rclpy >/dev/null 2>&1 && return 0
    say "No rclpy for this machine on the package index: the tests that need ROS are skipped"
    return 1
}

install() {
    venv=$1
    extra=${2:-}
    python="$venv/bin/python"
    constraints=$(constraints_for "$venv" "$extra")
    if ! "$python" -c "import torch" 2>/dev/null; then
        say "Installing $(grep '^torch==' constraints.txt) (this takes a while)"
        if [ "$(uname)" = Linux ] && [ -z "${TORCH_INDEX:-}" ] && ! has_nvidia_gpu; then
            say "No NVIDIA GPU here. If several GB of CUDA libraries are being downloaded, stop and use the CPU-only build:" \
                "make TORCH_INDEX=<the index URL that PyTorch's install page shows for pip, CPU>"
        fi
    fi
    # torch comes first and alone, so that an index given for it serves nothing else.
    pip_install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} setuptools torch
    if [ "$extra" = dev ] && has_ros_wheels; then extra="dev,ros"; fi
    say "Installing journeyman and its dependencies${extra:+ with the extras $extra}"
    pip_install --no-build-isolation --editable ".${extra:+[$extra]}"
}

# Whether MuJoCo draws a frame: a library that loads may still find no device.
can_render() {
    for backend in ${MUJOCO_GL:-egl osmesa}; do
        MUJOCO_GL=$backend "$python" -c "import mujoco
with mujoco.Renderer(mujoco.MjModel.from_xml_string('<mujoco/>'), 8, 8) as renderer:
    renderer.render()" >/dev/null 2>&1 && return 0
    done
    return 1
}

check_system() {
    python="$1/bin/python"
    [ "$(uname)" = Linux ] || return 0
    # Mesa has dropped OSMesa, so the newest releases offer only the other pair.
    can_render || apt_install libosmesa6 || apt_install libegl1 libgl1 || true
    can_render || say "WARNING: nothing here can render without a screen: no camera images, no videos, and the tests" \
        "of both fail. Run this, then make again: sudo apt-get install libosmesa6   (or: libegl1 libgl1)"
}

[ $# -ge 2 ] || fail "usage: tools/bootstrap.sh venv|install|system DIR [EXTRA]"
cd "$(dirname "$0")/.."
step=$1
shift
case $step in
    venv) make_venv "$@" ;;
    install) install "$@" ;;
    system) check_system "$@" ;;
    *) fail "unknown step '$step'; choose venv, install or system." ;;
esac
