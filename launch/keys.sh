#!/usr/bin/env bash
# Makes CURVE keys in keys/: bash launch/keys.sh [--dir FOLDER] [NAME ...]   (a pair for each NAME of a host)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh
exec .venv/bin/python -m launch.make_keys "$@"
