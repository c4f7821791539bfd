"""The ring, rebuilt from the dataset alone: the same bits in the same places."""

import logging
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from config.reach import Scale
from learner.replay.dataset.arrow import (
    Array,
    column,
    episode_lengths,
    flattened,
    list_ends,
    matrix,
    read_parquet,
)
from learner.replay.dataset.format import layout
from learner.replay.dataset.format.spec import DatasetError, DatasetSpec, optional_feature
from learner.replay.dataset.read import read_spec
from learner.replay.memory.executed import executed_residual
from learner.replay.memory.ring import Ring
from learner.replay.restore.images import read_pictures
from learner.replay.restore.optional import read_optional

log = logging.getLogger(__name__)


class Rows(NamedTuple):
    """Rows of a ring, see `Ring.restore`."""

    positions: Array
    block: Array
    reward: Array
    terminated: Array
    successors: Array


def restore_ring(folder: Path, ring: Ring) -> int:
    """Fill an empty ring with the newest rows of a dataset, each at its old position; returns how many.

    The ring continues behind the newest of them. What the learner had received but not yet committed
    still has to be added (`Ring.add` with its position).

    Raises DatasetError: not a dataset of this replay, of other dimensions, or without the images that the
    ring needs."""
    spec = read_spec(folder)
    _require_same_decisions(folder, spec, ring)
    shards = sorted(map(layout.file_number, layout.parquet_files(folder / "data")), reverse=True)
    newest = [_last_position(folder, number) for number in shards]
    ring.rows.position = max(newest, default=-1) + 1
    if ring.features_dim and not spec.features_dim:
        ring.lost = sum(_decisions_in(folder, number) for number in shards)
        log.warning(
            "replay: %d decisions of %s are lost to training, the base's features were not kept with them "
            "(learner.keep_features=false): learning starts anew with what arrives", ring.lost, folder,
        )  # fmt: skip
        return 0
    restored = 0
    for number, last in zip(shards, newest, strict=True):
        # Episodes are committed in the order of their ends: a shard may have older rows than the one before.
        if last < ring.rows.oldest:
            continue
        rows = read_rows(folder, number, spec, ring.residual_scale)
        ring.restore(*rows)
        if ring.images.names:
            ring.restore_columns(ring.images, rows.positions, read_pictures(folder, number, spec))
        if ring.optional.names:
            ring.restore_columns(ring.optional, *read_optional(folder, number, spec))
        restored += int((rows.positions >= ring.rows.oldest).sum())
    log.info("replay: %d rows restored from %s", restored, folder)
    return restored


def _require_same_decisions(folder: Path, spec: DatasetSpec, ring: Ring) -> None:
    """Raise DatasetError unless the ring can have the rows of this dataset."""
    theirs = spec.observation_dim, (spec.residual_every or 0) * spec.action_dim
    if theirs != (ours := (ring.observation_dim, ring.residual_dim)):
        raise DatasetError(
            f"{folder} has decisions with observation dimension {theirs[0]} and residual dimension "
            f"{theirs[1]}, this run has {ours[0]} and {ours[1]}: use the keys that the run was started with "
            f"(algo.residual_every={spec.residual_every} and those of task), or choose another name=<run>"
        )
    if spec.features_dim not in (0, ring.features_dim):
        raise DatasetError(
            f"{folder} has features_dim {spec.features_dim}, this run has {ring.features_dim}: use the base, "
            "algo.sees and algo.critics_see that the run was started with, or choose another name=<run>"
        )
    if ring.images.names and not spec.cameras:
        raise DatasetError(f"{folder} has no images: set learner.replay_images=false")
    if missing := set(ring.optional.names) - set(spec.optional_columns):
        raise DatasetError(
            f"{folder} lacks the columns {', '.join(sorted(missing))}: choose another name=<run>"
        )


def read_rows(folder: Path, number: int, spec: DatasetSpec, residual_scale: Scale | None = None) -> Rows:
    """All rows of one shard; `residual_scale`: see `Ring`."""
    frames = read_parquet(folder / layout.file_name(layout.DATA_PATH, number))
    sidecar = read_parquet(folder / layout.file_name(layout.SIDECAR_PATH, number))
    decisions, finals = _decisions(frames, sidecar, spec, residual_scale), _finals(sidecar, spec)
    last = list_ends(sidecar, "positions") - 1
    # A decision is followed by the next one of its episode, the last by the final observation, if known.
    successors = np.r_[decisions.positions[1:], -1]
    successors[last] = -1
    successors[last[column(sidecar, "final_known")]] = finals.positions
    decisions.terminated[last] = column(sidecar, "terminated")
    parts = zip(decisions._replace(successors=successors), finals, strict=True)
    return Rows(*(np.concatenate(part) for part in parts))


def _last_position(folder: Path, number: int) -> int:
    sidecar = read_parquet(
        folder / layout.file_name(layout.SIDECAR_PATH, number), columns=["positions", "final_known"]
    )
    positions, last = flattened(sidecar, "positions"), list_ends(sidecar, "positions") - 1
    return int(max(positions.max(), (positions[last] + column(sidecar, "final_known")).max()))


def _decisions_in(folder: Path, number: int) -> int:
    sidecar = read_parquet(folder / layout.file_name(layout.SIDECAR_PATH, number), columns=["positions"])
    return len(flattened(sidecar, "positions"))


def _decisions(frames: pa.Table, sidecar: pa.Table, spec: DatasetSpec, residual_scale: Scale | None) -> Rows:
    """The decisions of all episodes; which are the last of their episodes is left to the caller."""
    start = column(frames, "decision_start")
    first = np.flatnonzero(start)
    decision = np.cumsum(start) - 1
    frame = np.arange(len(frames)) - first[decision]
    every = matrix(sidecar, "last_residual").shape[1] // spec.action_dim
    last = decision[np.cumsum(episode_lengths(frames)) - 1]

    def grouped(name: str) -> Array:
        """(D, k, width), zeros past the end of a decision."""
        values = matrix(frames, name)
        out = np.zeros((len(first), every, values.shape[1]), np.float32)
        out[decision, frame] = values
        return out

    plan, residual = grouped("base_action"), grouped("residual")
    for whole, name in ((plan, "last_base_plan"), (residual, "last_residual")):
        whole[last] = matrix(sidecar, name).reshape(len(last), *whole.shape[1:])
    if residual_scale is not None and "intervention" in spec.optional_columns:
        intervened = grouped(optional_feature("intervention"))[..., 0] > 0
        residual = executed_residual(residual, grouped("action"), plan, intervened, residual_scale)
    observation = [matrix(frames, name)[first] for name in spec.observation_columns]
    return Rows(
        positions=flattened(sidecar, "positions"),
        block=np.concatenate(
            [
                *observation,
                *_features(sidecar, "features", len(first), spec),
                *(each.reshape(len(first), -1) for each in (plan, residual)),
            ],
            axis=1,
        ),
        # The same sum over the same numbers as when they arrived.
        reward=grouped("next.reward")[..., 0].sum(1),
        terminated=np.zeros(len(first), bool),
        successors=np.full(len(first), -1),
    )


def _features(sidecar: pa.Table, name: str, rows: int, spec: DatasetSpec) -> list[Array]:
    """[f4 (rows, E)], the same numbers as the f2 that arrived; nothing where there are none."""
    if not spec.features_dim:
        return []
    return [flattened(sidecar, name).reshape(rows, spec.features_dim).astype(np.float32)]


def _finals(sidecar: pa.Table, spec: DatasetSpec) -> Rows:
    """The final observations that are known, each behind the last decision of its episode."""
    known = column(sidecar, "final_known")
    positions = flattened(sidecar, "positions")[list_ends(sidecar, "positions") - 1] + 1
    plan = matrix(sidecar, "final_base_plan")
    features = matrix(sidecar, "final_features").astype(np.float32) if spec.features_dim else plan[:, :0]
    parts = [matrix(sidecar, "final_observation"), features, plan, np.zeros_like(plan)]
    block = np.concatenate(parts, axis=1)
    count = int(known.sum())
    return Rows(
        positions[known], block[known], np.zeros(count, np.float32), np.zeros(count, bool), np.full(count, -1)
    )
