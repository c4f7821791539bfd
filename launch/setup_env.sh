#!/usr/bin/env bash
# Makes .venv with everything in requirements.lock and this project (editable). Nothing to do: nothing done.
# bash launch/setup_env.sh actor: only what an actor needs, in the versions of requirements.lock.
# bash launch/setup_env.sh bench: all of it and an extra of pyproject.toml, which nothing else installs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# shellcheck source=launch/find_python.sh
source launch/find_python.sh
versions=(3.12 3.13)

say() { echo "setup | $*"; }
fail() {
    echo "setup | $*" >&2
    exit 1
}

what="${1:-all}"
if [[ $what == --help || $what == -h ]]; then
    echo "usage: bash launch/setup_env.sh [actor|bench|cluster|fetch|groot|pi0|ray|smolvla|trackers]   makes .venv"
    echo "actor: with what an actor needs alone; the others: with that extra of pyproject.toml as well"
    exit 0
fi
extra=""
case "$what" in
    all | actor) ;;
    bench | cluster | fetch | groot | pi0 | ray | smolvla | trackers) extra="$what" what=all ;;
    *) fail "usage: bash launch/setup_env.sh [actor|bench|cluster|fetch|groot|pi0|ray|smolvla|trackers]" ;;
esac

# Compiled once here, not by every process of a run that imports something first. Slow disks take long.
export UV_COMPILE_BYTECODE=1 UV_COMPILE_BYTECODE_TIMEOUT="${UV_COMPILE_BYTECODE_TIMEOUT:-600}"

# The folder is part of the stamp: a copied or moved .venv points to the old place.
stamp="$({ pwd && cat requirements.lock pyproject.toml; } | sha256sum | cut -d ' ' -f 1)"
python=.venv/bin/python
made=""
[[ -x $python && -f .venv/stamp ]] && made="$(<.venv/stamp)"

add_extra() {
    [[ -n $extra ]] || return 0
    say "adding the extra $extra"
    local constraints=(--constraints requirements.lock)
    [[ $extra != ray ]] || constraints+=(--constraints launch/cluster/on_ray/requirements.lock)
    "$(command -v uv || echo .venv/bin/uv)" pip install --quiet --python "$python" "${constraints[@]}" \
        --editable ".[$extra]" || fail "the extra $extra could not be installed (see above)"
}

if [[ $made == "$stamp" || $made == "$what $stamp" ]]; then
    add_extra
    exit 0
fi

[[ $(uname -sm) == "Linux x86_64" ]] || fail "the simulator has packages for Linux on x86-64 alone, this is $(uname -sm)"

if [[ -e .venv ]] && ! { is_python "$python" "${versions[@]}" && [[ $("$python" -c 'import sys; print(sys.prefix)') == "$PWD/.venv" ]]; }; then
    say "the .venv here is broken, of another Python or from another place: making it again"
    rm -rf .venv
fi

# uv can fetch a Python, and any Python that has pip can fetch uv.
make_with_fetched_python() (
    if [[ $uv == .venv/bin/uv ]]; then
        uv_alone="$(mktemp -d)"
        trap 'rm -rf "$uv_alone"' EXIT
        python3 -m pip install --quiet --target "$uv_alone" uv || exit 1
        uv="$uv_alone/bin/uv"
    fi
    "$uv" venv --quiet --python '>=3.12,<3.14' .venv
)

uv="$(command -v uv || echo .venv/bin/uv)"
if [[ ! -e .venv ]]; then
    found="$(find_python "${versions[@]}")"
    if [[ -z $found ]]; then
        make_with_fetched_python >/dev/null 2>&1 ||
            fail "no Python 3.12 or 3.13 here, and uv could fetch none: install python3.12 and python3.12-venv, or pyenv install 3.12"
    else
        say "making .venv with $found"
        "$found" -m venv .venv || fail "$found could not make .venv (see above)"
    fi
fi
if [[ ! -x $uv ]]; then
    say "installing uv into .venv"
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip >/dev/null || fail "no pip in .venv: remove .venv and try again"
    "$python" -m pip install --quiet --disable-pip-version-check uv || fail "pip could not install uv (see above): is a package index reachable?"
fi

if [[ $what == actor ]]; then
    say "installing what an actor needs, from requirements.lock (torch brings its CUDA packages: a few GB)"
    "$uv" pip install --quiet --python "$python" --constraints requirements.lock --editable '.[actor]' ||
        fail "the packages could not be installed (see above)"
    "$python" -W ignore -c 'import mani_skill, torch, zmq, actor' || fail "the new .venv does not work (see above)"
    echo "actor $stamp" >.venv/stamp
    say "ready: .venv for an actor with $("$python" --version)"
    exit 0
fi

say "installing $(grep -c == requirements.lock) packages from requirements.lock (torch brings its CUDA packages: a few GB)"
# The lock is complete, so nothing is resolved here.
install() { "$uv" pip install --quiet --python "$python" --no-deps "$@"; }
works() { "$python" -W ignore -c 'import lerobot, mani_skill, torch, zmq, actor, learner'; }
install -r requirements.lock || fail "the packages could not be installed (see above)"
install --editable . || fail "this project could not be installed (see above)"
if ! works 2>/dev/null; then
    say "something is missing in .venv: installing everything again"
    install --reinstall -r requirements.lock || fail "the packages could not be installed (see above)"
    works || fail "the new .venv does not work (see above): remove it and try again"
fi
# Last, so that a set-up that was cut short starts again.
echo "$stamp" >.venv/stamp
add_extra
say "ready: .venv with $("$python" --version)"
