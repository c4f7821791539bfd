#!/usr/bin/env bash
# All checks: style, types, who imports whom, tests. Arguments go to pytest: bash launch/test.sh -m slow
set -euo pipefail
if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    echo "All checks: ruff, pyright, lint-imports, pytest. Arguments go to pytest:"
    echo "bash launch/test.sh [-k WORD] [-x] [-m slow|gpu] [FILE ...]"
    exit 0
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh

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
