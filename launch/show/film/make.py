"""Makes the films of a run: chooses seeds, plays them with a camera, writes the files."""

import contextlib
import logging
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import gymnasium

from actor.evaluation import prepare_base
from actor.policy.contract import BasePolicy
from actor.simulators.adapters import simulator_of
from actor.simulators.headless import quiet_driver
from config.main import Config
from config.process import DONE, FAILED, StopRequest
from config.trust import trusting
from launch.run.folder import require_run
from launch.run.holder import is_alive
from launch.show.film.captions import Take, pictures
from launch.show.film.choice import Choice, choose, chosen_by_hand, missing_kinds
from launch.show.film.files import entry, make_folder, write_mp4, write_webp
from launch.show.film.player import Player, Stopped
from launch.show.film.roles import Policy, Role, base_role, newest_role, timelapse_roles
from launch.show.film.settings import config_of_film
from launch.show.film_list import add_to_index
from launch.show.page.report import NAME as REPORT
from launch.show.page.report import write_report
from learner.report.evaluations import read_evaluations
from learner.tracking.results import send_results

log = logging.getLogger("film")

# Without evaluations.jsonl: seeds that are played to find some worth seeing.
MOST_SEARCHED = 20
_SAY_EVERY_S = 10.0


class Size(NamedTuple):
    """Of a picture, in pixels."""

    width: int
    height: int


# A processor draws a picture of the smaller size in 0.2 to 0.4 s.
SMALL, LARGE = Size(384, 288), Size(640, 480)


@dataclass(frozen=True)
class Asked:
    """What is to be filmed."""

    pairs: int
    seeds: Sequence[int] = ()
    """These, instead of some worth seeing."""
    policies: Sequence[Policy] = ("base", "full")
    timelapse: bool = False
    webp: bool = False
    """Write an animated picture beside each film."""
    size: Size | None = None
    """None: small where the processor draws, else large."""


def make_films(run_dir: Path, asked: Asked, overrides: Sequence[str], stop: StopRequest) -> int:
    """All films asked for; returns the exit code: 1 if an episode did not end as it was evaluated.
    Raises CheckpointError, DeviceError, RenderError, TaskError, UsageError: see their messages."""
    require_run(run_dir)
    config = config_of_film(run_dir, overrides)
    evaluations = read_evaluations(run_dir)
    if asked.timelapse:
        roles = timelapse_roles(run_dir, evaluations)
    else:
        made = {"base": lambda: base_role(evaluations), "full": lambda: newest_role(run_dir, evaluations)}
        roles = [made[policy]() for policy in asked.policies]
    folder = make_folder(run_dir)
    with trusting(config.trust_remote_code), studio(config, asked.size, stop) as (player, every):
        director = Director(config, player, every, roles, folder, asked)
        try:
            code = director.make_all(director.choices())
        except Stopped:
            log.info("stopped; films that were whole stay in %s", folder)
            return stop.exit_code
    send_films(run_dir, config, stop)
    return code


def send_films(run_dir: Path, config: Config, stop: StopRequest) -> None:
    """To the run's W&B run, if it has one and is over: a run that goes on sends them at its end."""
    is_over = (run_dir / "summary.json").is_file() and not is_alive(run_dir)
    if is_over and (run_dir / "wandb_id").is_file():
        send_results(run_dir, config, stop, log)


@contextlib.contextmanager
def studio(config: Config, size: Size | None, stop: StopRequest) -> Generator[tuple[Player, int]]:
    """One simulator with a camera, and after how many frames it takes a picture.
    Raises CheckpointError, DeviceError, RenderError, TaskError: see their messages."""
    simulator = simulator_of(config.task)
    software = simulator.draws_slowly(config.task)
    base: BasePolicy = prepare_base(config)
    with quiet_driver():
        picture = size or (SMALL if software else LARGE)
        env: gymnasium.Env = simulator.single_environment(config.task, 0, 1, picture)
    try:
        yield Player(config, base, env, lambda: not stop.is_set()), 2 if software else 1
    finally:
        env.close()


class Director:
    """Films one seed after the other, and says how far it is."""

    def __init__(
        self, config: Config, player: Player, every: int, roles: Sequence[Role], folder: Path, asked: Asked
    ) -> None:
        self._config, self._player, self._every, self._roles = config, player, every, roles
        self._folder, self._asked = folder, asked
        self._fps = max(1, config.learner.fps // every)
        self._drawn, self._said_s = 0, time.monotonic()
        self._began_s: float | None = None

    def choices(self) -> list[Choice]:
        """The seeds to film; says why these. Raises Stopped."""
        asked = self._asked
        count = 1 if asked.timelapse else asked.pairs
        if asked.seeds:
            return chosen_by_hand(asked.seeds)
        first, last = self._roles[0], self._roles[-1]
        known = first.outcomes.keys() & last.outcomes.keys()
        base, full = (first.outcomes, last.outcomes) if known else self._searched(count)
        choices = choose(base, full, count)
        for choice in choices:
            log.info("seed %d: %s", choice.seed, choice.why)
        for line in missing_kinds(choices, len(known or full), count):
            log.info(line)
        return choices

    def _searched(self, count: int) -> tuple[dict[int, bool], dict[int, bool]]:
        """Outcomes of the first and the last policy, until there is a film of each kind."""
        first_seed = self._config.learner.evaluation.first_seed
        log.info(
            "these weights have no evaluation in evaluations.jsonl: playing seeds from %d on to find some",
            first_seed,
        )
        base: dict[int, bool] = {}
        full: dict[int, bool] = {}
        for seed in range(first_seed, first_seed + MOST_SEARCHED):
            base[seed] = self._player.succeeds(self._roles[0], seed)
            full[seed] = self._player.succeeds(self._roles[-1], seed)
            choices = choose(base, full, count)
            if len(choices) == count and not [*missing_kinds(choices, len(full), count)]:
                break
        return base, full

    def make_all(self, choices: Sequence[Choice]) -> int:
        """Returns the exit code. Raises Stopped."""
        code = DONE
        for number, choice in enumerate(choices, start=1):
            film = self._make(choice, f"film {number} of {len(choices)}", len(choices) - number)
            if film is False:
                code = FAILED
        return code

    def _make(self, choice: Choice, what: str, later: int) -> bool | None:
        """Film one seed; returns whether it ended as it was evaluated."""
        takes = []
        for number, role in enumerate(self._roles):
            left = later * len(self._roles) + len(self._roles) - number
            shots = self._player.film(role, choice.seed, self._every, lambda left=left: self._say(what, left))
            version = None if role.policy == "base" else role.version
            take = Take(role.title, version, choice.seed, shots, role.outcomes.get(choice.seed))
            if take.as_evaluated is False:
                log.error(
                    "seed %d of %s v%d ended in a %s, but its evaluation in a %s: another machine, base or "
                    "release played it",
                    choice.seed, role.policy, role.version, _word(take.success), _word(not take.success),
                )  # fmt: skip
            takes.append(take)
        kind = "timelapse" if self._asked.timelapse else choice.kind
        return self._write(f"{kind}-seed-{choice.seed}", kind, takes, what)

    def _write(self, name: str, kind: str, takes: Sequence[Take], what: str) -> bool | None:
        film = list(pictures(takes, self._every, self._fps))
        path = self._folder / f"{name}.mp4"
        write_mp4(path, film, self._fps)
        if self._asked.webp:
            write_webp(path.with_suffix(".webp"), film, self._fps)
        listed = entry(path.name, kind, [role.policy for role in self._roles], takes)
        add_to_index(self._folder, listed)
        report = self._folder.parent / REPORT
        if report.is_file():  # it shows the films
            write_report(self._folder.parent)
        ends = ", ".join(f"{take.title} {_word(take.success)}" for take in takes)
        log.info("%s: %s (%s)", what, path, ends)
        return listed["as_evaluated"]

    def _say(self, what: str, episodes_left: int) -> None:
        """How far it is, now and then; the first picture, which takes long, counts for nothing."""
        now_s = time.monotonic()
        if self._began_s is None:
            self._began_s = now_s
            return
        self._drawn += 1
        if now_s - self._said_s < _SAY_EVERY_S:
            return
        self._said_s = now_s
        most = episodes_left * self._config.task.max_episode_steps / self._every
        left_s = most * (now_s - self._began_s) / self._drawn
        log.info("%s: %d pictures so far, at most %.0f s left", what, self._drawn, left_s)


def _word(success: bool) -> str:
    return "success" if success else "failure"
