#!/usr/bin/env bash
# Shows an episode of a run's replay: bash launch/viz.sh RUN [episode|best|last|worst] [--save DIR], or RUN --all (--help says more)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh
exec .venv/bin/python -m launch.show.viz "$@"
