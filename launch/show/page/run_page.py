"""The page of one run."""

import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launch.run.folder import count, name_of
from launch.show.page.charts import run_charts
from launch.show.page.model import Episodes, Page, Table, Tile
from launch.show.page.record import Evaluated, Record, episode_films, is_number, read_episodes
from launch.show.settings import Changed, changed_settings, hydra_value, run_words


def run_page(record: Record, changed: list[Changed]) -> Page:
    """`changed`: the settings that differ from the defaults."""
    return Page(
        title=record.name,
        state=_state(record),
        tiles=list(_tiles(record)),
        charts=run_charts(record),
        tables=[_actors(record), _settings(record, changed), _machine(record)],
        commands=_commands(record, changed),
        films=record.films,
        problems=record.problems,
    )


def changed_of(record: Record) -> list[Changed]:
    return changed_settings(record.settings) if record.settings else []


def run_episodes(run_dir: Path, films: list[str]) -> Episodes:
    """The table of all episodes in the replay."""
    outcomes, note = read_episodes(run_dir)
    return Episodes(
        columns={
            "episode": [each.episode for each in outcomes],
            "success": [each.success for each in outcomes],
            "frames": [each.frames for each in outcomes],
            "return": [_rounded(each.total_reward) for each in outcomes],
            "version": [each.version for each in outcomes],
            "actor": [each.actor for each in outcomes],
        },
        films=episode_films(films),
        command=f"residual-rl viz {shlex.quote(name_of(run_dir))}",
        note=note,
    )


def percent(value: float) -> str:
    """With one digit behind the point where there is something to say."""
    return f"{100 * value:.1f}".removesuffix(".0") + " %"


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _state(record: Record) -> str:
    task = task_of(record) or "unknown task"
    algo = _setting(record.settings, "algo", "name") or "unknown algorithm"
    what = f"{task}, {algo}, seed {record.settings.get('seed', 'unknown')}"
    if record.last_word_unix is None:
        return f"{what}: nothing was measured yet"
    at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.last_word_unix))
    early = record.summary.get("stopped_early")
    over = f"over ({early})" if early else "over"
    return f"{what}: {over if record.is_over else 'not over'}, last word at {at}"


def task_of(record: Record) -> str | None:
    task = _setting(record.settings, "task", "env_id")
    return task if isinstance(task, str) else None


def _setting(settings: Mapping[str, Any], section: str, key: str) -> Any:
    values = settings.get(section)
    return values.get(key) if isinstance(values, Mapping) else None


def _tiles(record: Record) -> Iterator[Tile]:
    unit = record.newest("goal_unit")
    if unit in (None, "frames"):
        yield from _success_tiles(record)
        total = _setting(record.settings, "learner", "total_frames")
        ends = f"training ends after {count(total)}" if is_number(total) else ""
        yield Tile("frames", count(record.newest("frames")), ends)
    else:
        if record.evaluations:
            yield from _success_tiles(record)
        wanted = count(record.newest("goal_wanted"))
        yield Tile(str(unit), count(record.newest("goal_done")), f"the run ends after {wanted}")
        yield Tile("frames", count(record.newest("frames")))
    # The points go on during the final evaluation, which is no training.
    wall_s = record.summary.get("wall_s", record.newest("t_s"))
    minutes = f"{wall_s / 60:.1f}" if is_number(wall_s) else "unknown"
    yield Tile("minutes", minutes, "of training, from the first experience on")
    for key, detail in (("updates", ""), ("episodes", "played to their end")):
        if unit != key:
            yield Tile(key, count(record.newest(key)), detail)
    if is_number(share := record.newest("intervention_share")):
        yield Tile("by hand", percent(share), "of the newest frames")


def _success_tiles(record: Record) -> Iterator[Tile]:
    full = record.full
    yield success_tile("base alone", record.base)
    yield success_tile(record.trained, full[-1] if full else None)
    if is_number(true := record.summary.get("final_true_success")):
        share = record.summary.get("final_false_success_share")
        false = percent(share) if is_number(share) else "unknown"
        yield Tile("true success", percent(true), f"at the end, by the simulator; false successes: {false}")


def success_tile(label: str, evaluated: Evaluated | None) -> Tile:
    if evaluated is None:
        return Tile(label, "not measured")
    low, high = map(percent, evaluated.interval)
    detail = f"{low} to {high} (95 % interval), {evaluated.episodes} episodes"
    if evaluated.policy == "full":
        detail += f", at {count(evaluated.frames)} frames"
    return Tile(label, percent(evaluated.rate), detail)


def _actors(record: Record) -> Table:
    header = ("actor", "host", "sub-environments", "frames", "frames/s", "lag, versions", "last heard")
    said = record.status.get("actors")
    actors = [actor for actor in said if isinstance(actor, Mapping)] if isinstance(said, list) else []
    note = "" if actors else "Not known: the learner has not written status.json yet, or nobody is connected."
    return Table("Actors", header, [_actor(actor) for actor in actors], note)


def _actor(actor: Mapping[str, Any]) -> tuple[str, ...]:
    heard_s = actor.get("last_heard_s")
    heard = f"{heard_s:.1f} s before" if is_number(heard_s) else "not since the learner started"
    return (
        str(actor.get("name")),
        str(actor.get("host")),
        *(_plain(actor.get(key)) for key in ("sub_envs", "frames", "frames_per_s", "lag_versions")),
        heard if actor.get("alive") else f"gone ({heard})",
    )


def _plain(value: Any) -> str:
    if value is None:
        return "unknown"
    return count(value) if isinstance(value, int | float) else str(value)


def _settings(record: Record, changed: list[Changed]) -> Table:
    rows = [
        (each.key, hydra_value(each.value), hydra_value(each.default) if each.known else "no such key here")
        for each in changed
    ]
    note = "" if rows else "None." if record.settings else "Not known."
    return Table("Settings that differ from the defaults", ("key", "value", "default"), rows, note)


def _machine(record: Record) -> Table:
    rows = [(key, value) for key, value in _flat(record.machine) if key != "command"]
    note = "" if rows else "machine.json is missing: commit, machine and packages are not known."
    return Table("Commit, machine, packages", ("what", "value"), rows, note)


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key} ")
        elif key == "earlier":
            yield "earlier starts of this run", str(len(value) if isinstance(value, list) else 0)
        elif key == "started_unix" and isinstance(value, int | float):
            yield "started", time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(value))
        else:
            yield f"{prefix}{key}", str(value)


def _commands(record: Record, changed: list[Changed]) -> list[tuple[str, str]]:
    commands = []
    if commit := record.machine.get("commit"):
        dirty = " (with changes that were not committed)" if record.machine.get("dirty") else ""
        commands.append((f"the same code{dirty}", f"git checkout {shlex.quote(str(commit))}"))
    if command := record.machine.get("command"):
        words = shlex.join(map(str, command)) if isinstance(command, list) else str(command)
        commands.append(("what was typed", words))
    if record.settings:
        name = shlex.quote(f"name={record.name}-again")
        words = " ".join(["bash launch/start.sh", name, *run_words(changed)])
        commands.append(("the same run under another name", words))
    if record.collects:
        return commands
    best = "its best weights over 100 fresh seeds"
    commands.append((best, f"residual-rl evaluate {shlex.quote(name_of(record.folder))} "
                           "learner.evaluation.first_seed=2000000"))  # fmt: skip
    return commands
