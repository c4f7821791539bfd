#!/usr/bin/env bash
# Installs what tests of engines need, where it is missing: Ray into .venv; Slurm and munge, with apt-get, into the system.
set -euo pipefail

say() { echo "engines | $*"; }
fail() {
    say "$*" >&2
    exit 1
}

bash launch/setup_env.sh ray
export PATH="$PATH:/usr/sbin:/sbin"
if command -v slurmctld slurmd sbatch munged mungekey >/dev/null; then
    exit 0
fi
command -v apt-get >/dev/null || fail "no apt-get here: install Slurm (slurmctld, slurmd, sbatch) and munge by hand"
root=()
[[ $(id -u) == 0 ]] || root=(sudo -n)
say "installing slurm-wlm and munge"
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
{ "${root[@]}" apt-get update && "${root[@]}" apt-get install --yes --no-install-recommends slurm-wlm munge; } \
    >"$log" 2>&1 || fail "apt-get could not install slurm-wlm and munge: $(grep -v '^$' "$log" | tail -n 1)"
