#!/usr/bin/env bash
# One run on this machine, from start to summary: bash launch/start.sh [key=value ...] (--help says more)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh
exec .venv/bin/python -m launch.run "$@"
