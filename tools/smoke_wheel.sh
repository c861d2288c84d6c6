#!/bin/sh
# tools/smoke_wheel.sh PYTHON WHEEL: does the wheel work where the repository is not?
#
# Installs it into an empty environment in a temporary folder and uses it from there. TORCH_INDEX as in bootstrap.sh.
set -eu

[ $# -eq 2 ] || { echo "usage: tools/smoke_wheel.sh PYTHON WHEEL" >&2; exit 1; }
python=$1
wheel=$(realpath "$2")
constraints=$(realpath "$(dirname "$0")/../constraints.txt")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

echo "==> Installing $(basename "$wheel") into an empty environment"
"$python" -m venv "$folder/venv"
pip_install() { "$folder/venv/bin/python" -m pip install --quiet --quiet --disable-pip-version-check -c "$constraints" "$@"; }
pip_install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
pip_install "$wheel"

mkdir "$folder/elsewhere"
cd "$folder/elsewhere"
unset PYTHONPATH
echo "==> journeyman doctor"
"$folder/venv/bin/journeyman" doctor
echo "==> The configurations inside the wheel"
code=0
choices=$("$folder/venv/bin/journeyman" train task=no_such_task 2>&1) || code=$?
echo "$choices"
case "$code $choices" in
    "2 "*lift_cube*) echo "==> The wheel works" ;;
    *) echo "error: expected exit code 2 and the list of tasks, got exit code $code" >&2; exit 1 ;;
esac
