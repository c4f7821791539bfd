# shellcheck shell=bash
# To be sourced by the scripts beside it: where everything lies that must last, and what must be so before
# anything is done.
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)"
script="$(basename "$0" .sh)"
VOLUME="${VOLUME:-/workspace}"
VOLUME="$(realpath -m -- "$VOLUME")"
# shellcheck source=launch/pod/environment.sh
source "$project/launch/pod/environment.sh"
# A Python on the container's disk would be gone with it.
for folder in "$UV_PYTHON_INSTALL_DIR"/cpython-3.1[23].*/bin; do
    [[ -d $folder ]] && PATH="$folder:$PATH"
done

say() { echo "$script | $*"; }
warn() { echo "$script | warning: $*" >&2; }
refuse() {
    echo "$script | error: $*" >&2
    exit 2
}

# show_help TEXT ARGUMENT...: shows it where --help is asked for; there are no other arguments.
show_help() {
    case "${2:-}" in
        "") ;;
        -h | --help)
            echo "usage: [VOLUME=/workspace] bash launch/pod/$script.sh"
            echo "$1"
            exit 0
            ;;
        *) refuse "$2 is no argument: bash launch/pod/$script.sh --help" ;;
    esac
}

require_volume() {
    local probe
    [[ -d $VOLUME ]] || refuse "no volume at $VOLUME: attach one there, or say where it is: VOLUME=<folder>"
    if [[ $(stat -L -c %d "$VOLUME") == "$(stat -c %d /)" && ${VOLUME_ON_CONTAINER_DISK:-} != yes ]]; then
        refuse "$VOLUME is on the container's own disk, which a restart wipes: attach a volume there, or say" \
            "where it is (VOLUME=<folder>); VOLUME_ON_CONTAINER_DISK=yes takes it all the same"
    fi
    probe="$(mktemp -d "$VOLUME/.probe.XXXXXX" 2>/dev/null)" ||
        refuse "$VOLUME cannot be written: attach the volume with the right to write, or name another: VOLUME=<folder>"
    rmdir "$probe"
}

is_on_volume() { [[ $project == "$VOLUME"/* ]]; }

# Installs the programs that are missing. Lists and archives stay on the volume: after a wipe no network is needed.
add_packages() {
    local missing=() program as_root=() own log
    for program in tmux git gcc g++ rsync; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((${#missing[@]})) || return 0
    if ((EUID)); then as_root=(sudo -n); fi
    if ! command -v apt-get >/dev/null || ! "${as_root[@]}" true 2>/dev/null; then
        warn "missing here: ${missing[*]}: install them, as root and with this system's own package manager"
        return 0
    fi
    say "installing ${missing[*]}"
    # Packages belong to one release of one system.
    own="$VOLUME/cache/apt/$(. /etc/os-release && echo "$ID-${VERSION_ID:-newest}")" log="$VOLUME/cache/apt.log"
    mkdir -p "$own/archives/partial" "$own/lists/partial"
    apt() {
        "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q --yes --no-install-recommends \
            -o APT::Sandbox::User=root -o APT::Keep-Downloaded-Packages=true "$@" >>"$log" 2>&1
    }
    on_volume() { apt -o "Dir::Cache::archives=$own/archives" -o "Dir::State::lists=$own/lists" "$@"; }
    : >"$log"
    on_volume install "${missing[@]}" ||
        { on_volume update && on_volume install "${missing[@]}"; } ||
        { apt update && apt install "${missing[@]}"; } || # a volume that apt cannot use
        warn "${missing[*]} could not be installed: $(tail -n 1 "$log") (all of it: $log)"
}
