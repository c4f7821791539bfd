#!/usr/bin/env bash
# After the container's disk was wiped: what is not on the volume is made again, and nothing else is done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=launch/pod/volume.sh
source launch/pod/volume.sh
show_help "Makes again what is not on the volume, and prints the command that resumes each unfinished run." "$@"
require_volume
is_on_volume || refuse "$project is not on the volume $VOLUME: bash launch/pod/setup.sh puts it there"

# One line that sets the variables, in place of an older one.
add_line() {
    local mark="# residual-rl's volume" kept="" line file="$1"
    line="$(printf '[ -r %q ] && VOLUME=%q && . %q %s' "$environment" "$VOLUME" "$environment" "$mark")"
    grep -qxF "$line" "$file" 2>/dev/null && return 0
    if [[ -f $file ]]; then kept="$(grep -vF "$mark" "$file" || true)"; fi
    { printf '%s\n' ${kept:+"$kept"} "$line" >"$file"; } 2>/dev/null || warn "$file cannot be written"
}

environment="$project/launch/pod/environment.sh"
add_packages
add_line ~/.bashrc
if [[ -w /etc/profile.d ]]; then add_line /etc/profile.d/residual-rl.sh; fi
# ManiSkill's simulator keeps what it fetches there, and nothing tells it another place.
if [[ ! -e ~/.sapien ]]; then mkdir -p "$VOLUME/cache/sapien" && ln -sfn "$VOLUME/cache/sapien" ~/.sapien; fi
# A volume may belong to a user whom this container does not know.
if [[ -e .git ]] && ! git rev-parse HEAD >/dev/null 2>&1; then git config --global --add safe.directory "$project"; fi

# A stamp tells nothing of a Python that is gone, or is another one now.
.venv/bin/python -c 'import click, msgspec, zmq' 2>/dev/null || rm -f .venv/stamp
bash launch/setup_env.sh
mkdir -p "$VOLUME/bin"
ln -sfn "$project/.venv/bin/residual-rl" "$VOLUME/bin/residual-rl"
say "ready; for this shell: source ~/.bashrc"
exec .venv/bin/python -m launch.pod.unfinished
