"""Verbs about hosts and shells: keys, completion."""

import re
from pathlib import Path

import click

from launch.cli.verb import FilePath, Verb


def _host_name(ctx: click.Context, param: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    plain = tuple(name.removeprefix("actor-") for name in names)
    for name in plain:
        if not re.fullmatch(r"[A-Za-z0-9._-]{1,50}", name):
            raise click.BadParameter(f"{name!r}: use letters, digits, dot, dash and underscore", ctx, param)
    return plain


@click.command(
    cls=Verb,
    short_help="CURVE keys, for actors on other hosts.",
    log_format="keys | %(message)s",
    examples={
        "keys": "for actors on this host",
        "keys box lab-3": "a pair for each of two other hosts",
    },
)
@click.argument("names", nargs=-1, callback=_host_name, metavar="[NAME]...")
@click.option("--dir", "folder", type=FilePath(), default=Path("keys"), show_default=True,
              help="Where the keys are, or will be.")  # fmt: skip
def keys(names: tuple[str, ...], folder: Path) -> None:
    """Makes CURVE keys that are missing: for the learner, for actors on its host and for each host NAME.

    Only hosts whose key is in the folder's allowed/ may connect. It says what to copy to which host.
    """
    from launch.make_keys import make_keys_and_say

    make_keys_and_say(folder, names)


@click.command(
    cls=Verb,
    short_help="Completion for bash, zsh and fish.",
    examples={
        "completion bash >> ~/.bashrc": "for every new shell",
        "completion zsh >> ~/.zshrc": "",
        "completion fish > ~/.config/fish/completions/residual-rl.fish": "",
    },
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Prints a script that completes verbs, options, names of runs, keys of the configuration and files."""
    from launch.cli.completion import script

    click.echo(script(shell, click.get_current_context().find_root().command))


VERBS = (keys, completion)
