#!/usr/bin/env bash
# Makes .venv-demos, the planner's own environment: it needs numpy 1. Nothing to do: nothing done.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

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
[[ -x $python && -f .venv-demos/stamp && $(<.venv-demos/stamp) == "$stamp" ]] && exit 0

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
