#!/usr/bin/env bash
# Once on a new volume: the clone, uv, a Python and .venv, all on the volume. Nothing to do: nothing done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
# shellcheck source=launch/pod/volume.sh
source launch/pod/volume.sh
show_help "Puts this clone, uv, a Python, .venv and all caches onto the volume, then does what restart.sh does." "$@"
require_volume

# With all branches, and the same remote: this clone may be on the disk that is wiped.
clone_to() {
    local url
    rm -rf "$1.new"
    git clone --quiet --no-hardlinks "$project" "$1.new"
    git -C "$1.new" fetch --quiet --update-head-ok --tags "$project" '+refs/heads/*:refs/heads/*'
    git -C "$1.new" remote remove origin
    if url="$(git -C "$project" remote get-url origin 2>/dev/null)"; then
        git -C "$1.new" remote add origin "$url"
    fi
    mv "$1.new" "$1"
    say "cloned $project to $1"
}

add_uv() {
    local folder="$VOLUME/cache/uv-alone"
    [[ -x $VOLUME/bin/uv ]] && return 0
    mkdir -p "$VOLUME/bin"
    if python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --target "$folder" uv; then
        mv "$folder/bin/uv" "$VOLUME/bin/uv"
    else
        warn "no uv on the volume (see above): is there a python3 with pip, and a package index?"
    fi
    rm -rf "$folder"
}

add_python() {
    local said
    [[ -x $VOLUME/bin/uv ]] || return 0
    compgen -G "$UV_PYTHON_INSTALL_DIR/cpython-3.1[23].*/bin/python3" >/dev/null && return 0
    said="$("$VOLUME/bin/uv" python install --no-bin 3.12 2>&1)" ||
        warn "no Python on the volume (${said##*cause: }): .venv takes the container's, and is made again where that is gone"
}

if ! is_on_volume; then
    add_packages # git
    clone="$VOLUME/residual-rl"
    if [[ -e $clone ]]; then
        say "using the clone that is there: $clone"
    else
        clone_to "$clone"
        [[ -z $(git status --porcelain) ]] || warn "changes that are in no commit stay in $project"
    fi
    if [[ -f .env && ! -e $clone/.env ]]; then cp -p .env "$clone/.env"; fi
    if [[ -d runs ]]; then warn "runs stay in $project/runs: move them with mv, as long as nothing runs"; fi
    exec bash "$clone/launch/pod/setup.sh"
fi
add_uv
add_python
exec bash launch/pod/restart.sh
