"""The files of a journal: those with rows that may still be needed, and spare ones to write over."""

import threading
from pathlib import Path

from learner.replay.journal.disk import Disk
from learner.replay.journal.file import SegmentFile
from learner.replay.journal.format import segment_path, spare_path, spare_paths
from learner.replay.journal.ledger import CommittedEpisodes, Segment


class Segments:
    """Oldest first; any thread may ask.

    Args:
        folder: made if missing. Spare files that an earlier process left are deleted.
        most_spares: how many files are kept to write over.
    """

    def __init__(self, folder: Path, most_spares: int, disk: Disk) -> None:
        self._folder, self._most_spares, self._disk = folder, most_spares, disk
        self._lock = threading.Lock()
        self._listed: list[Segment] = []
        self._spares: list[Path] = []
        folder.mkdir(parents=True, exist_ok=True)
        self._delete(spare_paths(folder))

    @property
    def bytes_on_disk(self) -> int:
        """Of all files but the spare ones."""
        with self._lock:
            return sum(segment.size for segment in self._listed)

    def next_after(self, newest: Segment | None) -> Segment:
        """The segment after `newest`, or after all if that is None. It has no file yet."""
        with self._lock:
            newest = newest or (self._listed[-1] if self._listed else None)
        number = newest.number + 1 if newest is not None else 1
        return Segment(segment_path(self._folder, number), is_own=True)

    def open(self, segment: Segment) -> SegmentFile:
        """Its file, to write from the beginning on: a spare one, if there is any. Its name is durable."""
        with self._lock:
            spare = self._spares.pop() if self._spares else None
        if spare is not None:
            self._disk.rename(spare, segment.path)
        file = SegmentFile(segment.path, self._disk)
        # Before anything is written: under its older name, the file would have to contain the older rows.
        self._disk.sync_folder(self._folder)
        return file

    def add(self, segment: Segment) -> None:
        """The segment has rows now; may be called again for the newest."""
        with self._lock:
            if not self._listed or self._listed[-1] is not segment:
                self._listed.append(segment)

    def prune(self, committed: CommittedEpisodes) -> None:
        """Delete the segments whose episodes are all in the dataset, or keep their files as spare ones; the
        newest segment stays."""
        with self._lock:
            done = [segment for segment in self._listed[:-1] if segment.is_committed(committed)]
            self._listed = [segment for segment in self._listed if segment not in done]
            room = self._most_spares - len(self._spares)
        # Only files of this process: others may be of a release that could not tell old records from new.
        spares = [segment.path for segment in done if segment.is_own][:room]
        for path in spares:
            self._disk.rename(path, spare_path(path))
        self._delete([segment.path for segment in done if segment.path not in spares])
        with self._lock:
            self._spares += map(spare_path, spares)

    def discard(self, committed: CommittedEpisodes | None) -> None:
        """Delete all segments whose episodes are in the dataset, the newest too; None: all."""
        with self._lock:
            done = [each for each in self._listed if committed is None or each.is_committed(committed)]
            self._listed = [segment for segment in self._listed if segment not in done]
        self._delete([segment.path for segment in done])

    def delete_spares(self) -> None:
        """At the end, when nothing will be written over them."""
        with self._lock:
            spares, self._spares = self._spares, []
        self._delete(spares)

    def _delete(self, paths: list[Path]) -> None:
        for path in paths:
            self._disk.delete(path)
        if paths:
            self._disk.sync_folder(self._folder)
