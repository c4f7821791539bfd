#!/usr/bin/env bash
# Installs the packages of the system that tests of engines need, where they are missing: Slurm and munge, with apt-get.
set -euo pipefail

say() { echo "engines | $*"; }
fail() {
    say "$*" >&2
    exit 1
}

export PATH="$PATH:${SBIN:-/usr/sbin:/sbin}" # where daemons are
missing=""
for program in slurmctld slurmd sbatch munged mungekey; do
    command -v "$program" >/dev/null || missing="$program"
done
[[ -n $missing ]] || exit 0
command -v apt-get >/dev/null || fail "no apt-get here: install Slurm (slurmctld, slurmd, sbatch) and munge by hand"
root=()
[[ $(id -u) == 0 ]] || root=(sudo -n)
say "installing slurm-wlm and munge"
export DEBIAN_FRONTEND=noninteractive
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
{ "${root[@]}" apt-get update -o Acquire::Retries=3 && "${root[@]}" apt-get install -o Acquire::Retries=3 --yes --no-install-recommends slurm-wlm munge; } \
    >"$log" 2>&1 || fail "apt-get could not install slurm-wlm and munge: $(grep -v '^$' "$log" | tail -n 1)"
