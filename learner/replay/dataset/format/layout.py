"""Names of a dataset's files and features."""

from pathlib import Path

FILES_PER_CHUNK = 1000

_FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/" + _FILE
EPISODES_PATH = "meta/episodes/" + _FILE
# Outside of LeRobot's globs: its readers do not see it. One row an episode, see `tables.sidecar_table`.
SIDECAR_PATH = "sidecar/" + _FILE
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
INFO_PATH = "meta/info.json"
STATS_PATH = "meta/stats.json"
TASKS_PATH = "meta/tasks.parquet"
# Ours: the fields of `DatasetSpec`, {"actors": [actor id of each value of the column `actor`],
# "settled": [[actor id, session, sub-environment, episodes], ...] of those that the dataset does not keep,
# "played": [whole episodes, successful ones] since the run began}
ORIGIN_PATH = "meta/residual_rl.json"

# A shard's three files.
PATTERNS = (DATA_PATH, SIDECAR_PATH, EPISODES_PATH)


def file_place(number: int) -> dict[str, int]:
    """chunk_index and file_index of the number-th file."""
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def file_name(pattern: str, number: int) -> str:
    """Path of the number-th file, relative to the dataset's folder."""
    return pattern.format(**file_place(number))


def file_number(path: Path) -> int:
    """The inverse of `file_name`, for data files and videos."""
    chunk, file = path.parent.name.removeprefix("chunk-"), path.stem.removeprefix("file-")
    return int(chunk) * FILES_PER_CHUNK + int(file)


def feature_name(camera: str) -> str:
    """LeRobot's name of the camera's images."""
    return f"observation.images.{camera}"


def video_name(camera: str, number: int) -> str:
    """Path of a camera's number-th video, relative to the dataset's folder."""
    return VIDEO_PATH.format(video_key=feature_name(camera), **file_place(number))


def video_numbers(folder: Path) -> list[int]:
    """Of all videos in a dataset's folder, ascending."""
    return sorted({file_number(path) for path in (folder / "videos").glob("*/*/*.mp4")})


def parquet_files(folder: Path) -> list[Path]:
    """The files of a table, in the order in which LeRobot reads them."""
    return sorted(folder.glob("*/*.parquet"))
