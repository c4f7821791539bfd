"""Completion in shells: click's, with a bash script that keeps key=value together."""

import os

import click
from click.shell_completion import BashComplete, add_completion_class, get_completion_class, split_arg_string

from launch.cli.verb import PROGRAM

_VARIABLE = "_RESIDUAL_RL_COMPLETE"
_BASH = """\
%(complete_func)s() {
    local line="${COMP_LINE:0:COMP_POINT}" word prefix="" kind value
    word="${line##*[[:space:]]}"
    # Bash replaces what follows the last "=" alone.
    [[ $word == *=* && $COMP_WORDBREAKS == *=* ]] && prefix="${word%%=*}="
    COMPREPLY=()
    while IFS=, read -r kind value; do
        case "$kind" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$prefix"}") ;;
        esac
    done < <(COMP_LINE="$line" %(complete_var)s=bash_complete "$1")
    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
    return 0
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Bash(BashComplete):
    """Reads the line itself: bash hands over words that are split at "="."""

    source_template = _BASH

    @staticmethod
    def _check_version() -> None:
        """Every bash of the last ten years will do."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_LINE"]
        words = split_arg_string(line)[1:]
        incomplete = "" if line.endswith(" ") or not words else words.pop()
        return words, incomplete


def register() -> None:
    """Let click use our script and reader for bash."""
    add_completion_class(_Bash, "bash")


def script(shell: str, cli: click.Command) -> str:
    """What a shell has to run once, such as from ~/.bashrc."""
    kind = get_completion_class(shell)
    assert kind is not None, f"click completes in bash, zsh and fish, not in {shell}"
    return kind(cli, {}, PROGRAM, _VARIABLE).source()
