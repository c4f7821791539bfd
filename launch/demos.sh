#!/usr/bin/env bash
# Motion-planned demonstrations as state observations and pd_ee_delta_pose actions, in demos/<task>:
# bash launch/demos.sh [task=PickCube-v1] [episodes=100] [key=value ...] (--help lists the keys)
# The planner needs numpy 1, so it has an environment of its own: .venv-demos.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
bash launch/setup_env.sh

# Words are understood before gigabytes are fetched for them.
case " $* " in *" --help "* | *" -h "*) exec .venv/bin/python -m launch.demos.make_demos --help ;; esac
.venv/bin/python -c 'import sys; from launch.demos.make_demos import parse_arguments; parse_arguments(sys.argv[1:])' "$@"

# shellcheck source=launch/find_python.sh
source launch/find_python.sh

say() { echo "demos | $*"; }
fail() {
    echo "demos | $*" >&2
    exit 1
}

lock=launch/env_demos/requirements.lock
stamp="$({ pwd && cat "$lock"; } | sha256sum | cut -d ' ' -f 1)"
python=.venv-demos/bin/python
if ! [[ -x $python && -f .venv-demos/stamp && $(<.venv-demos/stamp) == "$stamp" ]]; then
    # mplib has no wheel for Python 3.13.
    found="$(find_python 3.12 3.11)"
    uv="$(command -v uv || echo .venv/bin/uv)"
    say "making .venv-demos: $(grep -c "^[^#].*==" "$lock") packages from $lock (a few GB where they are not in uv's cache)"
    rm -rf .venv-demos
    "$uv" venv --quiet --python "${found:->=3.11,<3.13}" .venv-demos 2>/dev/null ||
        fail "no .venv-demos without Python 3.11 or 3.12: install python3.12 and python3.12-venv, or pyenv install 3.12"
    # From elsewhere: uv would heed the overrides of pyproject.toml, which leave out what the planner needs.
    "$uv" --directory / pip install --quiet --python "$PWD/$python" --no-deps -r "$PWD/$lock" || fail "the packages could not be installed (see above)"
    echo "$stamp" >.venv-demos/stamp
fi
export HDF5_USE_FILE_LOCKING=FALSE
exec "$python" -m launch.demos.make_demos "$@"
