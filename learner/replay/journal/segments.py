"""The files of a journal: those with rows that may still be needed, and spares to be written over."""

from __future__ import annotations

import threading
from pathlib import Path

from learner.replay.journal.file import SegmentFile
from learner.replay.journal.format import segment_path, spare_path, spare_paths, sync_folder
from learner.replay.journal.ledger import CommittedEpisodes, Segment


class Segments:
    """Oldest first; any thread may ask.

    Args:
        folder: made if missing. Spares that an earlier process left go.
        most_spares: so many files are kept to be written over.
    """

    def __init__(self, folder: Path, most_spares: int) -> None:
        self._folder, self._most_spares = folder, most_spares
        self._lock = threading.Lock()
        self._listed: list[Segment] = []
        self._spares: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._delete(spare_paths(folder))

    @property
    def bytes_on_disk(self) -> int:
        """Of all but the spares."""
        with self._lock:
            return sum(segment.size for segment in self._listed)

    def next_after(self, newest: Segment | None) -> Segment:
        """The one behind `newest`; None: behind all. It has no file yet."""
        with self._lock:
            newest = newest or (self._listed[-1] if self._listed else None)
        number = newest.number + 1 if newest is not None else 1
        return Segment(segment_path(self._folder, number), is_own=True)

    def open(self, segment: Segment) -> SegmentFile:
        """Its file, to be written from the beginning on: a spare, if there is one. Its name is durable."""
        with self._lock:
            spare = self._spares.pop() if self._spares else None
        if spare is not None:
            spare.rename(segment.path)
        file = SegmentFile(segment.path)
        # Before anything is written: by an older name the file would have to hold the older rows.
        sync_folder(self._folder)
        return file

    def add(self, segment: Segment) -> None:
        """It has rows; may be told again of the newest."""
        with self._lock:
            if not self._listed or self._listed[-1] is not segment:
                self._listed.append(segment)

    def prune(self, committed: CommittedEpisodes) -> None:
        """Delete those, less the newest, whose episodes are all in the dataset; or make spares of them."""
        with self._lock:
            done = [segment for segment in self._listed[:-1] if segment.is_committed(committed)]
            self._listed = [segment for segment in self._listed if segment not in done]
            room = self._most_spares - len(self._spares)
        # Of files that an earlier process wrote nobody knows which release did.
        spares = [segment.path for segment in done if segment.is_own][:room]
        for path in spares:
            path.rename(spare_path(path))
        self._delete([segment.path for segment in done if segment.path not in spares])
        with self._lock:
            self._spares += map(spare_path, spares)

    def discard(self, committed: CommittedEpisodes) -> None:
        """Delete all whose episodes are in the dataset, the newest too."""
        with self._lock:
            done = [segment for segment in self._listed if segment.is_committed(committed)]
            self._listed = [segment for segment in self._listed if segment not in done]
        self._delete([segment.path for segment in done])

    def delete_spares(self) -> None:
        """At the end: nobody will write over them."""
        with self._lock:
            spares, self._spares = self._spares, []
        self._delete(spares)

    def _delete(self, paths: list[Path]) -> None:
        for path in paths:
            path.unlink()
        if paths:
            sync_folder(self._folder)
