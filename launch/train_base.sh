#!/usr/bin/env bash
cd "$(dirname "${BASH_SOURCE[0]}")/.." && bash launch/setup_env.sh && exec .venv/bin/python -m launch train-base "$@"
