#!/usr/bin/env bash
# All checks: style, types, who imports whom, tests. Arguments go to pytest: bash launch/test.sh -m slow
set -euo pipefail
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
check python -m pytest "$@"
