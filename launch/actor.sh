#!/usr/bin/env bash
# One actor for a learner elsewhere: bash launch/actor.sh tcp://HOST:5588 [--keys FOLDER] [key=value ...]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh actor
exec .venv/bin/python -m launch.run.remote_actor "$@"
