#!/usr/bin/env bash
# All checks: style, types, who imports whom, tests. Arguments go to pytest: bash launch/test.sh -m slow
# With --engines, or CI=true, it installs what tests of engines (Slurm, Ray) need, and a test that lacks its engine fails.
# Else it installs nothing into the system, and such a test is skipped, with the command that installs it.
set -euo pipefail
if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    echo "All checks: ruff, pyright, lint-imports, pytest. Arguments go to pytest:"
    echo "bash launch/test.sh [--engines] [-k WORD] [-x] [-m slow|gpu] [FILE ...]"
    echo "--engines: installs what tests of engines (Slurm, Ray) need, and none of them may be skipped; CI=true means it too"
    exit 0
fi
engines="${CI:-}"
if [[ ${1:-} == --engines ]]; then
    engines=true
    shift
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh
if [[ $engines == true ]]; then
    bash launch/setup_env.sh ray
    bash launch/install_engines.sh
    export RESIDUAL_RL_ENGINES=1
fi

check() {
    echo "test | $*"
    local tool=$1
    shift
    ".venv/bin/$tool" "$@"
}

check ruff check .
check ruff format --check .
check pyright
check lint-imports
# Two at a time, since many tests wait for processes; tests of one file share what they set up.
check python -m pytest -n 2 --dist loadfile "$@"
