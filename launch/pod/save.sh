#!/usr/bin/env bash
# Before the pod is stopped: ends this clone's runs, and saves what is nowhere else.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=launch/pod/volume.sh
source launch/pod/volume.sh
show_help "Stops the runs as Ctrl-C does, pushes commits or bundles them, sends offline W&B runs, and copies runs
to SAVE_TO=<folder, or host:folder>, or packs what is new of them into \$VOLUME/saved. It says what it could not." "$@"
require_volume
is_on_volume || refuse "$project is not on the volume $VOLUME: save from the clone there"
[[ -x .venv/bin/python ]] || refuse "no .venv in $project: bash launch/pod/restart.sh makes it"
exec .venv/bin/python -m launch.pod.save
