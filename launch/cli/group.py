"""All verbs of `residual-rl` in one group."""

import signal

import click

from config.process import USAGE_ERROR, UsageError
from launch.cli import bases, clusters, completion, films, hosts, judges, pages, replays, runs, shares, shows
from launch.cli.verb import PROGRAM, Verbs


@click.group(
    cls=Verbs,
    epilog="\b\nAll keys that key=value can set: docs/reference/configuration.md\n"
    "Exit codes: 0 done; 1 failed, or below the bar asked for; 2 cannot be started as asked.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """Makes a frozen robot policy better by reinforcement learning in simulators.

    \b
    residual-rl run: one run on this machine, with the defaults
    """


for module in (runs, judges, clusters, bases, replays, shows, pages, films, shares, hosts):
    for verb in module.VERBS:
        cli.add_command(verb)


completion.register()


def run_verb(argv: list[str]) -> int | None:
    """Run the verb that `argv` names; returns its exit code.
    Raises UsageError: words that it does not take."""
    try:
        return cli.main(args=argv, prog_name=PROGRAM, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return USAGE_ERROR
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        raise UsageError(f"{' '.join(error.format_message().split())} ({path} --help)") from error
    except click.ClickException as error:
        raise UsageError(error.format_message()) from error
    except click.Abort:
        return 128 + signal.SIGINT
