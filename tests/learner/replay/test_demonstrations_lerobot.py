"""LeRobot datasets as people bring them: the episodes of a ManiSkill file, or refused in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from learner.replay.prior.error import DemonstrationError
from learner.replay.prior.read import Wanted, read_demonstrations
from learner.replay.tools.repair import repair
from learner.replay.tools.verify import verify
from tests.support.demonstrations import (
    ACTION,
    FRAMES,
    OBSERVATION,
    REWARD,
    STATE,
    copied,
    feature,
    shown,
    with_values,
    write_dataset,
    write_h5,
)


def last_of_even(row: Any, number: int, at: int) -> dict[str, Any]:
    """As HIL-SERL's recorder leaves it: a reward, no success; every second episode fails."""
    last = at == FRAMES - 1
    return {"next.reward": np.array([last and number % 2 == 0], np.float32), "next.done": np.array([last])}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_dataset(tmp_path_factory.mktemp("demos") / "recorded", STATE | REWARD, last_of_even)


def assert_recorded(folder: Path) -> None:
    """The same episodes as of a ManiSkill file with the same content; LeRobot keeps no last observation."""
    read = read_demonstrations(folder).episodes
    for one, there in zip(read, shown(), strict=True):
        np.testing.assert_array_equal(one.observations[:-1], there.observations[:-1])
        np.testing.assert_array_equal(one.observations[-1], there.observations[-2])
        np.testing.assert_array_equal(one.actions, there.actions)
        assert one.observations.dtype == one.actions.dtype == np.float32
    last = np.arange(FRAMES) == FRAMES - 1
    for number, one in enumerate(read):
        assert one.success.tolist() == (last & (number % 2 == 0)).tolist()


def test_both_formats_give_the_same_episodes(recorded: Path, tmp_path: Path) -> None:
    def failed(group: Any, number: int) -> None:
        group["success"][:] = group["success"][()] & (number % 2 == 0)

    file = read_demonstrations(write_h5(tmp_path / "demos.h5", failed)).episodes
    assert_recorded(recorded)
    for one, other in zip(file, read_demonstrations(recorded).episodes, strict=True):
        np.testing.assert_array_equal(one.observations[:-1], other.observations[:-1])
        for name in ("actions", "success"):
            np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
            assert getattr(one, name).dtype == getattr(other, name).dtype


def test_a_state_of_two_dimensions_is_one_row(tmp_path: Path) -> None:
    features = STATE | REWARD | {"observation.state": feature("float32", 6, 7)}

    def frame(row: Any, number: int, at: int) -> dict[str, Any]:
        return last_of_even(row, number, at) | {"observation.state": row["observation.state"].reshape(6, 7)}

    assert_recorded(write_dataset(tmp_path / "set", features, frame))


def test_features_of_words_do_no_harm(tmp_path: Path) -> None:
    features = STATE | REWARD | {"note": feature("string", 1)}
    folder = write_dataset(
        tmp_path / "set", features, lambda *where: last_of_even(*where) | {"note": "hello"}
    )
    assert_recorded(folder)


def test_episodes_of_one_frame_are_episodes(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", frames=1)
    episodes = read_demonstrations(folder, Wanted(last_frame_succeeds=True)).episodes
    assert [(len(one.observations), one.success.tolist()) for one in episodes] == [(2, [True])] * 3


def in_lists(rows: np.ndarray) -> Any:
    return pa.array([[row.tolist()] for row in rows])


UNDERSTOOD: dict[str, Callable[[pa.Table], pa.Table]] = {
    "lists of lists": with_values("observation.state", in_lists),  # LeRobot #2445
    "lists of any length": with_values("action", lambda rows: pa.array(rows.tolist())),
    "double precision": with_values("observation.state", lambda rows: list(rows.astype(np.float64))),
    "a reward in lists": with_values("next.reward", lambda rows: pa.array([[value] for value in rows])),
    "a reward of -1 and 0": with_values("next.reward", lambda rows: rows - 1),
    "gaps between episodes": with_values("episode_index", lambda rows: rows * 7 + 3),  # LeRobot #943
    "other columns first": lambda table: table.select(sorted(table.column_names, reverse=True)),
}


@pytest.mark.parametrize("kind", UNDERSTOOD)
def test_what_can_be_understood_gives_the_same_episodes(kind: str, recorded: Path, tmp_path: Path) -> None:
    assert_recorded(copied(recorded, tmp_path / "a set=1 ü", UNDERSTOOD[kind]))


def at(number: int, value: Any) -> Callable[[np.ndarray], Any]:
    def change(rows: np.ndarray) -> Any:
        rows = [*rows]
        rows[number] = value
        return pa.array([row.tolist() if isinstance(row, np.ndarray) else row for row in rows])

    return change


UNUSABLE: dict[str, tuple[Callable[[pa.Table], pa.Table], str]] = {
    "not a number": (
        with_values("observation.state", at(FRAMES + 3, np.full(OBSERVATION, np.nan, np.float32))),
        "episode 1: observations at frame 3, dimension 0 is nan",
    ),
    "an empty cell": (with_values("action", at(4, None)), "action has lists of different lengths"),
    "an empty value": (with_values("next.reward", at(4, None)), "next.reward has 1 empty cells"),
    "a short row": (
        with_values("action", at(4, [0.0] * 3)),
        r"action has lists of different lengths: \[7, 3\]",
    ),
    "words": (with_values("action", lambda rows: ["left"] * len(rows)), "values of type string, not numbers"),
    "no such column": (
        lambda table: table.drop_columns(["action"]),
        "no column action, which info.json lists",
    ),
    "no numbers of episodes": (
        lambda table: table.drop_columns(["episode_index"]),
        "no column episode_index",
    ),
    "a dense reward": (
        with_values("next.reward", lambda rows: rows + np.arange(len(rows))),
        "a dense reward",
    ),
    "a reward that is zero": (with_values("next.reward", np.zeros_like), "the same reward everywhere"),
    "mixed episodes": (
        with_values("episode_index", lambda rows: rows % 2),
        "episode_index 0 is in two places",
    ),
    "a missing frame": (
        lambda table: table.take([at for at in range(3 * FRAMES) if at != FRAMES + 2]),
        "episode 1: frame_index 3 follows 1",
    ),
    "frames in another order": (
        lambda table: table.take([*reversed(range(FRAMES)), *range(FRAMES, 3 * FRAMES)]),
        "episode 0: frame_index 4 follows 5",
    ),
    "a frame twice": (
        lambda table: table.take([0, *range(3 * FRAMES)]),
        "episode 0: frame_index 0 follows 0",
    ),
    "a missing episode": (lambda table: table.slice(0, 2 * FRAMES), "data of 2 episodes, .* counts 3"),
    "the frames at an episode's end are missing": (
        lambda table: table.slice(0, 3 * FRAMES - 2),
        f"data of {3 * FRAMES - 2} frames, meta/info.json counts {3 * FRAMES}: get the missing files",
    ),
    "no frames": (lambda table: table.slice(0, 0), "data of 0 episodes"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_frames_that_cannot_be_learned_from_are_refused(kind: str, recorded: Path, tmp_path: Path) -> None:
    change, says = UNUSABLE[kind]
    folder = copied(recorded, tmp_path / "set", change)
    with pytest.raises(DemonstrationError, match=says) as refused:
        read_demonstrations(folder)
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)


INFO: dict[str, tuple[dict[str, Any], str]] = {
    "no features": ({"features": None}, "info.json is broken: .*features"),
    "features as a list": ({"features": []}, "info.json is broken: .*features"),
    "no fps": ({"fps": None}, "info.json is broken: .*fps"),
    "a version before": ({"codebase_version": "v2.1"}, "format v2.1, not v3.0: convert it with"),
    # LeRobot #2284: an action in parts.
    "actions by other names": (
        {"features": {"observation.state": {}, "action.pose": {}}},
        r"no feature action, it has \['action.pose', 'observation.state'\]",
    ),
    "too few episodes": (
        {"total_episodes": 2},
        "data of 3 episodes, meta/info.json counts 2: residual-rl replay repair",
    ),
    "too few frames": ({"total_frames": 7}, "data of 18 frames, meta/info.json counts 7"),
    "no number of frames": ({"total_frames": None}, "data of 18 frames, meta/info.json counts 0"),
    "no state": ({"features": {"action": {}}}, "no feature observation.state"),
}


@pytest.mark.parametrize("kind", INFO)
def test_a_description_that_lacks_something_is_named(kind: str, recorded: Path, tmp_path: Path) -> None:
    changes, says = INFO[kind]
    folder = copied(recorded, tmp_path / "set", **changes)
    with pytest.raises(DemonstrationError, match=says):
        read_demonstrations(folder)


@pytest.mark.parametrize("kind", ["too few episodes", "too few frames", "no number of frames"])
def test_what_is_refused_for_its_counts_is_broken_for_verify_and_read_once_repaired(
    kind: str, recorded: Path, tmp_path: Path
) -> None:
    folder = copied(recorded, tmp_path / "set", **INFO[kind][0])
    assert any("info.json counts" in problem for problem in verify(folder))
    repair(folder)
    assert verify(folder) == []
    assert_recorded(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "3", "\0"])
def test_a_description_that_is_none_is_named(text: str, recorded: Path, tmp_path: Path) -> None:
    folder = copied(recorded, tmp_path / "set")
    (folder / "meta/info.json").write_text(text)
    with pytest.raises(DemonstrationError, match="info.json"):
        read_demonstrations(folder)


def test_a_data_file_that_is_cut_short_is_named(recorded: Path, tmp_path: Path) -> None:
    folder = copied(recorded, tmp_path / "set")
    path = folder / "data/chunk-000/file-000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DemonstrationError, match="set: data/chunk-000/file-000.parquet cannot be read"):
        read_demonstrations(folder)


def test_an_observation_in_another_order_is_given_in_that_order(recorded: Path) -> None:
    read = read_demonstrations(recorded, Wanted(observation=["action", "observation.state"])).episodes
    assert read[0].observations.shape == (FRAMES + 1, ACTION + OBSERVATION)
    np.testing.assert_array_equal(read[0].observations[:-1, :ACTION], read[0].actions)
