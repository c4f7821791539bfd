"""The verb that films: film."""

import os
import re
from collections.abc import Callable
from typing import Any, Literal

import click

from launch.cli.pages import LOWEST_PRIORITY
from launch.cli.verb import TRUST, Verb, single_name, split_words, words_argument


class _List(click.ParamType):
    """Values between commas."""

    def __init__(self, name: str, convert: Callable[[str], Any]) -> None:
        self.name, self._convert = name, convert

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(dict.fromkeys(self._convert(word) for word in value.split(",")))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _seed(word: str) -> int:
    if not word.isdecimal() or int(word) >= 2**63:
        raise ValueError(f"{word!r} is no seed: give numbers, such as 1000007,1000012")
    return int(word)


def _policy(word: str) -> Literal["base", "full"]:
    match word:
        case "base" | "full":
            return word
        case _:
            raise ValueError(f"{word!r} is no policy: give base, full, or base,full")


def _size(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[int, int] | None:
    if value is None:
        return None
    match = re.fullmatch(r"(\d{2,4})x(\d{2,4})", value)
    if match is None:
        raise click.BadParameter(f"{value!r} is no size: give WIDTHxHEIGHT, such as 384x288")
    return int(match[1]), int(match[2])


@click.command(
    cls=Verb,
    short_help="Films of single seeds: base and residual side by side.",
    log_format="film | %(message)s",
    examples={
        "film my-run": "three pairs into runs/my-run/videos, chosen so that they teach",
        "film my-run --seeds 1000007,1000012": "these seeds",
        "film my-run --timelapse": "one seed with the weights of several evaluations, in one film",
    },
    keys={"base.path=FOLDER": "where the base is now, if it is not where the run had it", **TRUST},
)
@words_argument("RUN")
@click.option("--pairs", type=click.IntRange(1), default=3, show_default=True, help="How many films.")
@click.option(
    "--seeds", type=_List("seeds", _seed), metavar="N,N,...", default=(), help="Film these instead."
)
@click.option(
    "--policy", type=_List("policy", _policy), metavar="base,full", default=("base", "full"),
    help="Who plays; both side by side by default.",
)  # fmt: skip
@click.option(
    "--timelapse", is_flag=True, help="One seed, base and several evaluated residuals side by side."
)
@click.option("--webp", is_flag=True, help="Write each film as an animated picture (.webp) too.")
@click.option(
    "--size", callback=_size, metavar="WxH",
    help="Of a picture. Default: 384x288 where the processor draws, else 640x480.",
)  # fmt: skip
@click.option("--if-possible", is_flag=True, help="Where no picture can be drawn, say so and end well.")
def film(
    words: tuple[str, ...],
    pairs: int,
    seeds: tuple[int, ...],
    policy: tuple[Literal["base", "full"], ...],
    timelapse: bool,
    webp: bool,
    size: tuple[int, int] | None,
    if_possible: bool,
) -> int:
    """Plays seeds again with a camera and writes films (H.264) to the run's videos/.

    Without --seeds it chooses: a failure of the base that the residual turned into a success, a plain
    success, a failure that is left, and says why. Each film says seed, frame, version of the weights, how
    much the residual corrects, and the moment of success. An episode that does not end as it was evaluated
    (evaluations.jsonl) makes the exit code 1. It runs at the lowest priority and needs a Vulkan device: a
    GPU's, or a software device (apt-get install chromium).
    RUN is a name under runs/, or the path of a run's folder.
    """
    from config.process import DONE, stop_on_signals

    names, overrides = split_words(words)
    run = single_name(names, "run")
    if run is None:
        raise click.UsageError("name a run")
    if timelapse and policy != ("base", "full"):
        raise click.UsageError("--timelapse shows the base and several residuals: leave --policy out")
    stop = stop_on_signals()
    os.nice(LOWEST_PRIORITY)
    from actor.simulators.contract import RenderError
    from launch.run.folder import find_run
    from launch.show.film.make import Asked, Size, make_films

    asked = Asked(pairs, seeds, policy, timelapse, webp, Size(*size) if size else None)
    try:
        return make_films(find_run(run), asked, overrides, stop)
    except RenderError as error:
        if not if_possible:
            raise
        click.echo(f"no films: {error}")
        return DONE


VERBS = (film,)
