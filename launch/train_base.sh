#!/usr/bin/env bash
# Trains a diffusion base on demonstrations (bash launch/demos.sh makes them):
# bash launch/train_base.sh task=<id> [preset=small] [key=value ...] (--help lists the keys)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh
export HDF5_USE_FILE_LOCKING=FALSE
exec .venv/bin/python -m learner.base_training.run "$@"
