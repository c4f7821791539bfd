"""meta/stats.json, from the frames."""

# pyright: reportUnknownMemberType=false
# Numpy leaves open what tolist returns.

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from learner.replay.dataset.arrow import matrix, read_parquet
from learner.replay.dataset.format.layout import STATS_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.format.statistics import MergedStatistics, describe
from learner.replay.dataset.read import read_json
from learner.replay.tools.description import has_statistics, wrong_stats
from learner.replay.tools.rebuild.draft import Draft
from learner.replay.tools.rebuild.episodes import first_frames


def mend_statistics(draft: Draft, paths: Sequence[Path]) -> None:
    """Statistics of numbers, from the frames; those of pictures stay as they are."""
    try:
        if not draft.written and not [*wrong_stats(draft.root, draft.info)]:
            return
        old = read_json(draft.root, STATS_PATH)
    except DatasetError:
        old = {}
    numbers = {name: each for name, each in draft.features.items() if _is_number(draft.info, name)}
    kept = {name: each for name, each in old.items() if name in draft.features}
    new = kept | _statistics(paths, numbers)
    if new != old:
        draft.write_json(STATS_PATH, new)


def _is_number(info: dict[str, Any], name: str) -> bool:
    dtype = info["features"][name].get("dtype")
    return has_statistics(info, name) and dtype not in ("image", "video")


def _statistics(paths: Sequence[Path], features: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Content of stats.json for these features.
    Raises DatasetError: info.json gives a feature another width than it has in a file."""
    widths = {name: math.prod(feature["shape"]) for name, feature in features.items()}
    ends = dict(zip(widths, itertools.accumulate(widths.values()), strict=True))
    merged = MergedStatistics()
    for path in paths:
        frames = read_parquet(path, list(features))
        starts = np.flatnonzero(first_frames(frames))
        lengths = np.diff(np.r_[starts, len(frames)])
        if len(frames):
            matrices = {name: matrix(frames, name).astype(np.float64) for name in features}
            for name, each in matrices.items():
                if each.shape[1] != widths[name]:
                    raise DatasetError(
                        f"{path}: {name} has {each.shape[1]} numbers a frame, meta/info.json gives it the "
                        f"shape {features[name]['shape']}: correct it there, then repair again"
                    )
            numbers = np.concatenate([*matrices.values()], axis=1)
            merged = merged.plus(describe(numbers, lengths), lengths)
    content = merged.as_json({name: slice(ends[name] - width, ends[name]) for name, width in widths.items()})
    return {
        name: {
            kind: each if kind == "count" else np.reshape(each, features[name]["shape"]).tolist()
            for kind, each in said.items()
        }
        for name, said in content.items()
    }
