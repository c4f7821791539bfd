"""The entry point of `residual-rl`: all verbs in one group."""

import os
import signal
import sys
from typing import NoReturn

import click

from config.process import USAGE_ERROR, UsageError, run_main
from launch.cli import bases, completion, films, hosts, replays, runs, shows
from launch.cli.verb import PROGRAM, Verbs
from launch.run.folder import ROOT


@click.group(
    cls=Verbs,
    epilog="\b\nShell completion: residual-rl completion bash --help\n"
    "All keys that key=value can set: docs/reference/configuration.md\n"
    "Exit codes: 0 done; 1 failed, or below the bar asked for; 2 cannot be started as asked.",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
def cli() -> None:
    """Makes a frozen robot policy better by reinforcement learning in simulators.

    \b
    residual-rl run                                one run on this machine, with the defaults
    residual-rl run task=stack_cube seed=1         other keys of the configuration
    residual-rl run --help                         what a verb takes
    """


for module in (runs, bases, replays, shows, films, hosts):
    for verb in module.VERBS:
        cli.add_command(verb)


completion.register()


def _run(argv: list[str]) -> int | None:
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
        sys.exit(128 + signal.SIGINT)


def _prepare_environment() -> None:
    """For this process and those that it starts."""
    # Before h5py is imported: many volumes refuse HDF5's locks.
    os.environ.setdefault("HDF5_USE_FILE_LOCKING", "FALSE")
    # They find our modules from any folder, and take no package of the same name there for ours.
    others = [
        path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(ROOT))
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *others])
    os.environ["PYTHONSAFEPATH"] = "1"


def main() -> NoReturn:
    """Run the verb that the command line names and end this process with its exit code."""
    _prepare_environment()
    run_main(_run, log_format=None)
