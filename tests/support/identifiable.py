"""Experience in which every number says where it came from, and what a dataset of it has to hold."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from protocol.arrays import DTYPES, Columns
from protocol.experience import COLUMNS
from tests.support.spec import SPEC

OBS, ACT, K = SPEC.observation_dim, SPEC.action_dim, SPEC.residual_every


@dataclass
class Truth:
    """An episode as it was made: what the dataset has to say."""

    number: int
    actor_id: str
    sub_env: int
    length: int
    terminated: bool
    rows: list[dict[str, Any]] = field(default_factory=list)
    frames: dict[str, list[Any]] = field(default_factory=dict)
    final: np.ndarray | None = None


def make_episode(number: int, actor_id: str, sub_env: int, episode: int, length: int) -> Truth:
    """observation[0] = 1000 * number + frame; every other value is as identifiable."""
    terminated = number % 2 == 0
    truth = Truth(number, actor_id, sub_env, length, terminated)
    at = 1000 * number + np.arange(length, dtype=np.float32)
    observation = at[:, None] + np.arange(OBS, dtype=np.float32) / 8
    columns = {
        "observation": observation,
        "action": observation[:, :ACT] + 0.25,
        "base_plan": observation[:, :ACT] + 0.5,
        "residual": -observation[:, :ACT],
        "reward": at / 2,
        "success": np.arange(length) % 3 == number % 3,
    }
    truth.frames = dict(columns)
    truth.final = at[-1] + 1 + np.arange(OBS, dtype=np.float32)
    for decision, first in enumerate(range(0, length, K)):
        row: dict[str, Any] = {}
        for name, column in columns.items():
            part = column[first : first + K]
            row[name] = np.zeros((K, *part.shape[1:]), part.dtype)
            row[name][: len(part)] = part
        at_end = first + K >= length
        row |= {
            "frames": min(K, length - first), "terminated": at_end and terminated,
            "truncated": at_end and not terminated, "sub_env": sub_env, "episode": episode,
            "decision": decision, "weights_version": 7 * number + decision,
            "final": truth.final if at_end else None,
        }  # fmt: skip
        truth.rows.append(row)
    return truth


def pack(rows: list[dict[str, Any]]) -> Columns:
    """Rows -> the columns of one message."""
    dtypes = {column.name: DTYPES[column.dtype] for column in COLUMNS}
    finals = [i for i, row in enumerate(rows) if row["final"] is not None]
    columns = {
        name: np.array([row[name] for row in rows], dtypes[name]) for name in rows[0] if name != "final"
    }
    return columns | {
        "final_row": np.array(finals, np.int32),
        "final_observation": np.array([rows[i]["final"] for i in finals], np.float32).reshape(-1, OBS),
        "final_base_plan": np.full((len(finals), K, ACT), 3, np.float32),
    }


def make_stream(
    actor_id: str, first_number: int, lengths: list[int], sub_envs: int
) -> tuple[list[Truth], list[dict[str, Any]]]:
    """Episodes of sub-environments that step in turn, as in a vectorised rollout; in order of ending."""
    lanes: list[list[dict[str, Any]]] = [[] for _ in range(sub_envs)]
    counts = [0] * sub_envs
    truths: dict[tuple[int, int], Truth] = {}
    for offset, length in enumerate(lengths):
        lane = offset % sub_envs
        truth = make_episode(first_number + offset, actor_id, lane, counts[lane], length)
        truths[lane, counts[lane]] = truth
        counts[lane] += 1
        lanes[lane] += truth.rows
    rows = [lane[i] for i in range(max(map(len, lanes))) for lane in lanes if i < len(lane)]
    ended = [truths[row["sub_env"], row["episode"]] for row in rows if row["final"] is not None]
    return ended, rows


def in_messages(rows: list[dict[str, Any]], size: int) -> list[Columns]:
    return [pack(rows[i : i + size]) for i in range(0, len(rows), size)]
