# shellcheck shell=bash
# To be sourced: how the other scripts find a Python.

# is_python PYTHON VERSION ...: it runs, is of one of these versions and can make environments.
is_python() {
    "$1" -c 'import sys, venv, ensurepip; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv[1:])' "${@:2}" >/dev/null 2>&1
}

# find_python VERSION ...: prints the path of a Python on PATH or among pyenv's, of the first version that is there.
# A shim of pyenv's whose version is not selected refuses to run, so the versions themselves are tried.
find_python() {
    local root version candidate
    root="$(pyenv root 2>/dev/null || echo "${PYENV_ROOT:-$HOME/.pyenv}")"
    for version in "$@"; do
        for candidate in "python$version" python3 "$root/versions/"*/bin/python; do
            if is_python "$candidate" "$version"; then
                "$candidate" -c 'import sys; print(sys.executable)'
                return
            fi
        done
    done
}
