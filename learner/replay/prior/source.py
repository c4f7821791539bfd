"""What the name of a source of demonstrations refers to. Reads a few bytes, and no dataset."""

import re
from pathlib import Path

from config.files import broken_link
from config.main import Config
from config.tuning import SftConfig
from learner.folder import RunError
from learner.replay.dataset.content import why_no_content
from learner.replay.dataset.format.layout import INFO_PATH
from learner.replay.prior.error import DemonstrationError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_HOW = "make some with bash launch/demos.sh, or name a ManiSkill .h5 file or a LeRobot v3.0 dataset"


def require_prior_sources(config: Config) -> None:
    """Raise RunError unless a run's prior data is there, as far as that can be seen without reading it."""
    for source in config.prior_sources:
        try:
            find_source(source)
        except DemonstrationError as error:
            without = "(without prior data: learner.demos=null algo.prior_fraction=0)"
            hint = "" if isinstance(config.algo, SftConfig) else f" {without}"
            raise RunError(f"learner.demos: {error}{hint}") from error


def find_source(source: str) -> Path | None:
    """The ManiSkill file or the folder of a LeRobot dataset; None: `source` can only be an id of the hub.
    Raises DemonstrationError: it is neither; says what is there instead."""
    path = Path(source)
    try:
        if path.is_dir():
            _require_dataset(path)
            return path
        if path.is_file():
            _require_hdf5(path)
            return path
    except OSError as error:
        raise DemonstrationError(f"{source} cannot be read: {error.strerror}") from error
    is_local = path.suffix in (".h5", ".hdf5") or broken_link(path) is not None
    if not is_local and _HUB_ID.fullmatch(source):
        return None
    raise DemonstrationError(f"no demonstrations at {source}: {broken_link(path) or _HOW}")


def _require_dataset(folder: Path) -> None:
    if (folder / INFO_PATH).is_file():
        return
    there = "it has no meta/info.json"
    if (folder / "replay" / INFO_PATH).is_file():
        there += f"; the run's replay is {folder / 'replay'}"
    elif files := sorted(path for kind in ("*.h5", "*.hdf5") for path in folder.glob(kind)):
        there += f"; its ManiSkill files: {', '.join(map(str, files[:3]))}{' ...' if len(files) > 3 else ''}"
    else:
        there += f": {_HOW}"
    raise DemonstrationError(f"no demonstrations at {folder}, which is no LeRobot dataset: {there}")


def _require_hdf5(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_HDF5)) == _HDF5:
            return
    what = why_no_content(path) or "no HDF5 file; of a LeRobot dataset, name the folder"
    raise DemonstrationError(f"{path} is not a ManiSkill trajectory file: {what}")
