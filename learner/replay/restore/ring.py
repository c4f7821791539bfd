"""The ring, rebuilt from the dataset and its sidecar alone, to the bit."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from learner.replay.dataset.folder import read_spec
from learner.replay.dataset.format import DatasetError, DatasetSpec, episode_lengths, read_parquet
from learner.replay.dataset.layout import DATA_PATH, SIDECAR_PATH, file_name, file_number
from learner.replay.memory.ring import Ring
from learner.replay.restore.images import read_pictures
from learner.replay.tools.verify import parquet_files

log = logging.getLogger(__name__)


class Rows(NamedTuple):
    """Rows of a ring, see `Ring.restore`."""

    positions: np.ndarray
    block: np.ndarray
    reward: np.ndarray
    terminated: np.ndarray
    successors: np.ndarray


def restore_ring(folder: Path, ring: Ring) -> int:
    """Fill an empty ring with the newest rows of a dataset, each where it was; returns how many.

    The ring then goes on behind the newest of them. What the learner had received and not yet
    committed is still to come (`Ring.add` with its position).

    Raises:
        DatasetError: not a dataset of this replay, of rows of other sizes, or without the images that the
            ring keeps.
    """
    spec = read_spec(folder)
    theirs = spec.observation_dim, (spec.residual_every or 0) * spec.action_dim
    if theirs != (ours := (ring.observation_dim, ring.residual_dim)):
        raise DatasetError(
            f"{folder} holds decisions of {theirs[0]} observation and {theirs[1]} residual numbers, this run "
            f"has {ours[0]} and {ours[1]}: give the run's own keys (algo.residual_every="
            f"{spec.residual_every} and those of task), or choose another name=<run>"
        )
    if ring.images is not None and not spec.cameras:
        raise DatasetError(f"{folder} holds no images: set learner.replay_images=false")
    shards = sorted(map(file_number, parquet_files(folder / "data")), reverse=True)
    newest = [_last_position(folder, number) for number in shards]
    ring.rows.position = max(newest, default=-1) + 1
    restored = 0
    for number, last in zip(shards, newest, strict=True):
        # Episodes are committed as they end, not as they began: a shard may reach back.
        if last < ring.rows.oldest:
            continue
        rows = read_rows(folder, number, spec)
        ring.restore(*rows)
        if ring.images is not None:
            ring.restore_images(rows.positions, read_pictures(folder, number, spec))
        restored += int((rows.positions >= ring.rows.oldest).sum())
    log.info("replay: %d rows restored from %s", restored, folder)
    return restored


def read_rows(folder: Path, number: int, spec: DatasetSpec) -> Rows:
    """All rows of one shard."""
    frames = read_parquet(folder / file_name(DATA_PATH, number))
    sidecar = read_parquet(folder / file_name(SIDECAR_PATH, number)).combine_chunks()
    decisions = _decisions(frames, sidecar, spec)
    finals = _finals(sidecar)
    last = np.cumsum(pc.list_value_length(sidecar["positions"]).to_numpy()) - 1
    # A decision is followed by the next one of its episode, the last by the final observation, if known.
    successors = np.r_[decisions.positions[1:], -1]
    successors[last] = -1
    known = sidecar["final_known"].to_numpy()
    successors[last[known]] = finals.positions
    decisions.terminated[last] = sidecar["terminated"].to_numpy()
    parts = zip(decisions._replace(successors=successors), finals, strict=True)
    return Rows(*(np.concatenate(part) for part in parts))


def _last_position(folder: Path, number: int) -> int:
    sidecar = read_parquet(
        folder / file_name(SIDECAR_PATH, number), columns=["positions", "final_known"]
    ).combine_chunks()
    flat = sidecar["positions"].combine_chunks().flatten().to_numpy()
    last = np.cumsum(pc.list_value_length(sidecar["positions"]).to_numpy()) - 1
    return int(max(flat.max(), (flat[last] + sidecar["final_known"].to_numpy()).max()))


def _matrix(table: pa.Table, name: str) -> np.ndarray:
    """f4 (N, width) of a column of lists of fixed size, or of plain values."""
    column = table[name].combine_chunks()
    flat = column.flatten() if pa.types.is_fixed_size_list(column.type) else column
    return flat.to_numpy().reshape(len(column), -1)


def _decisions(frames: pa.Table, sidecar: pa.Table, spec: DatasetSpec) -> Rows:
    """The decisions of all episodes; where an episode's last one lies is known to the caller."""
    start = frames["decision_start"].to_numpy()
    first = np.flatnonzero(start)
    decision = np.cumsum(start) - 1
    frame = np.arange(len(frames)) - first[decision]
    every = _matrix(sidecar, "last_residual").shape[1] // spec.action_dim
    last = decision[np.cumsum(episode_lengths(frames)) - 1]

    def grouped(name: str) -> np.ndarray:
        """(D, k, width), zeros past the end of a decision."""
        values = _matrix(frames, name)
        out = np.zeros((len(first), every, values.shape[1]), np.float32)
        out[decision, frame] = values
        return out

    plan, residual = (grouped(name).reshape(len(first), -1) for name in ("base_action", "residual"))
    plan[last], residual[last] = _matrix(sidecar, "last_base_plan"), _matrix(sidecar, "last_residual")
    reward = grouped("next.reward")[..., 0]
    observation = [_matrix(frames, name)[first] for name in spec.observation_columns]
    return Rows(
        positions=sidecar["positions"].combine_chunks().flatten().to_numpy(),
        block=np.concatenate([*observation, plan, residual], axis=1),
        # The same sum over the same numbers as when they arrived.
        reward=reward.sum(1),
        terminated=np.zeros(len(first), bool),
        successors=np.full(len(first), -1),
    )


def _finals(sidecar: pa.Table) -> Rows:
    """The final observations that are known, each right behind the last decision of its episode."""
    known = sidecar["final_known"].to_numpy()
    last = np.cumsum(pc.list_value_length(sidecar["positions"]).to_numpy()) - 1
    positions = sidecar["positions"].combine_chunks().flatten().to_numpy()[last] + 1
    plan = _matrix(sidecar, "final_base_plan")
    block = np.concatenate([_matrix(sidecar, "final_observation"), plan, np.zeros_like(plan)], axis=1)
    count = int(known.sum())
    return Rows(
        positions[known], block[known], np.zeros(count, np.float32), np.zeros(count, bool), np.full(count, -1)
    )
