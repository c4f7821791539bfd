"""Which seeds are worth seeing."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest

KINDS = ("corrected", "success", "failure")
"""The kinds of films, the most telling first: a failure of the base that the residual made a success, a
success of both, a failure that is left."""
_NAMES = {
    "corrected": "failure of the base that the residual made a success",
    "success": "success of both",
    "failure": "failure with the residual",
}


@dataclass(frozen=True)
class Choice:
    """A seed, and why."""

    kind: str
    seed: int
    why: str


def kind_of(base: bool, full: bool) -> str:
    if full:
        return "success" if base else "corrected"
    return "failure"


def choose(base: Mapping[int, bool], full: Mapping[int, bool], count: int) -> list[Choice]:
    """`count` seeds that both have played, or all: one of each kind in turn, the smallest seeds first."""
    by_kind: dict[str, list[Choice]] = {kind: [] for kind in KINDS}
    for seed in sorted(base.keys() & full.keys()):
        kind = kind_of(base[seed], full[seed])
        by_kind[kind].append(Choice(kind, seed, _why(base[seed], full[seed])))
    # A failure of both is what is left to do; one that only the residual has comes after it.
    by_kind["failure"].sort(key=lambda choice: base[choice.seed])
    turns = chain.from_iterable(zip_longest(*(by_kind[kind] for kind in KINDS)))
    return [choice for choice in turns if choice is not None][:count]


def chosen_by_hand(seeds: Sequence[int]) -> list[Choice]:
    return [Choice("chosen", seed, "asked for") for seed in seeds]


def missing_kinds(choices: Sequence[Choice], seeds: int, count: int) -> Iterator[str]:
    """For each kind that could have been shown and is not there, a line that says so."""
    found = {choice.kind for choice in choices}
    for kind in KINDS[:count]:
        if kind not in found:
            yield f"no {_NAMES[kind]} among {seeds} seeds"


def _why(base: bool, full: bool) -> str:
    match base, full:
        case False, True:
            return "the base fails, with the residual it succeeds"
        case True, True:
            return "both succeed"
        case True, False:
            return "the base succeeds, with the residual it fails"
        case _:
            return "both fail"
