"""meta/stats.json, from the frames."""

# pyright: reportUnknownMemberType=false
# Numpy leaves open what tolist returns.

import itertools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from learner.replay.dataset.arrow import matrix
from learner.replay.dataset.format.layout import STATS_PATH
from learner.replay.dataset.format.spec import DatasetError
from learner.replay.dataset.format.statistics import MergedStatistics, describe
from learner.replay.dataset.read import read_json
from learner.replay.tools.description import wrong_stats
from learner.replay.tools.frames import read_frames
from learner.replay.tools.lerobot_reader import Features, check_stats
from learner.replay.tools.rebuild.draft import Draft
from learner.replay.tools.rebuild.episodes import first_frames

_NUMBER = re.compile(r"bool|u?int\d+|float\d*|double")


def mend_statistics(draft: Draft, paths: Sequence[Path], types: Features) -> None:
    """Statistics of numbers, from the frames; those of pictures stay as they are."""
    try:
        if not draft.written and not [*wrong_stats(draft.root, draft.info)]:
            return
        old = read_json(draft.root, STATS_PATH)
        check_stats(old)
    except DatasetError:
        old = {}
    shapes = {name: each["shape"] for name, each in draft.features.items() if _is_number(each)}
    kept = {name: each for name, each in old.items() if name in draft.features}
    tables = (read_frames(draft.root, path, types, [*shapes]) for path in paths)
    new = kept | _statistics(tables, shapes)
    if new != old:
        draft.write_json(STATS_PATH, new)


def _is_number(feature: Mapping[str, Any]) -> bool:
    return _NUMBER.fullmatch(str(feature.get("dtype"))) is not None


def _statistics(tables: Iterable[pa.Table], shapes: Mapping[str, Sequence[int]]) -> dict[str, Any]:
    """Content of stats.json for features of these shapes, from the frames of each file."""
    widths = {name: math.prod(shape) for name, shape in shapes.items()}
    ends = dict(zip(widths, itertools.accumulate(widths.values()), strict=True))
    merged = MergedStatistics()
    for frames in tables:
        starts = np.flatnonzero(first_frames(frames))
        lengths = np.diff(np.r_[starts, len(frames)])
        numbers = np.concatenate([matrix(frames, name).astype(np.float64) for name in shapes], axis=1)
        merged = merged.plus(describe(numbers, lengths), lengths)
    content = merged.as_json({name: slice(ends[name] - width, ends[name]) for name, width in widths.items()})
    return {
        name: {
            kind: each if kind == "count" else np.reshape(each, shapes[name]).tolist()
            for kind, each in said.items()
        }
        for name, said in content.items()
    }
