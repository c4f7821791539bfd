"""status.json: what people see of the actors, whatever these say of themselves."""

import json
import math
from pathlib import Path

from learner.intake.status import PeerStatus
from learner.report.status import write_status


def peer(name: str, **changes: object) -> PeerStatus:
    told = {"frames": 1200.0, "frames_per_s": 60.5, "version": 7.0, "sub_envs": 6.0}
    fields = {
        "actor_id": name, "role": "actor", "session": 1, "alive": True, "address": "192.0.2.7", "rows": 300,
        "queued_rows": 0, "last_seen_s": 0.25, "figures": told,
    }  # fmt: skip
    return PeerStatus(**(fields | changes))  # pyright: ignore[reportArgumentType]


def written(folder: Path, *peers: PeerStatus) -> dict[str, object]:
    write_status(folder, 1e9, "", 9, peers)
    return json.loads((folder / "status.json").read_text())


def test_an_actor_is_shown_with_what_it_said(tmp_path: Path) -> None:
    shown = written(tmp_path, peer("one"), peer("judge", role="evaluator"))
    assert shown == {
        "t_unix": 1e9,
        "waiting_for": "",
        "actors": [
            {"name": "one", "host": "192.0.2.7", "sub_envs": 6, "frames": 1200, "frames_per_s": 60.5,
             "lag_versions": 2, "last_heard_s": 0.25, "alive": True}
        ],
    }  # fmt: skip


def test_actors_are_in_the_order_of_their_names(tmp_path: Path) -> None:
    actors = written(tmp_path, peer("b"), peer("a"))["actors"]
    assert [actor["name"] for actor in actors] == ["a", "b"]  # pyright: ignore


def test_figures_that_are_missing_or_no_numbers_are_null(tmp_path: Path) -> None:
    [actor] = written(tmp_path, peer("two", figures={"frames": float("nan")}))["actors"]  # pyright: ignore
    assert [actor[key] for key in ("sub_envs", "frames", "frames_per_s", "lag_versions")] == [None] * 4


def test_an_actor_of_before_a_restart_of_the_learner_was_not_heard_yet(tmp_path: Path) -> None:
    [actor] = written(tmp_path, peer("two", last_seen_s=math.inf, alive=False))["actors"]  # pyright: ignore
    assert (actor["last_heard_s"], actor["alive"]) == (None, False)


def test_a_folder_that_cannot_be_written_costs_nothing(tmp_path: Path) -> None:
    write_status(tmp_path / "missing", 1e9, "", 0, [])
