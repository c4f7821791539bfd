"""report.html: the page of a run as one file, written anew after each evaluation."""

import logging
import threading
from pathlib import Path

from config.files import replace_text
from launch.show.page.record import Record, RecordReader
from launch.show.page.render import page_html
from launch.show.page.run_page import changed_of, run_episodes, run_page

log = logging.getLogger("report")

NAME = "report.html"
_LOOK_EVERY_S = 1.0


def write_report(run_dir: Path, out: Path | None = None, record: Record | None = None) -> Path:
    """Write the page of a run; returns where it is.
    `record`: what was just read of the run's folder. Raises OSError: it cannot be written."""
    record = record or RecordReader(run_dir).read()
    page = run_page(record, changed_of(record))
    path = out or run_dir / NAME
    replace_text(path, page_html(page, run_episodes(run_dir, list(record.films))))
    return path


def keep_report(run_dir: Path, stop: threading.Event) -> None:
    """Write the report after each evaluation, until the run ends or `stop` is set."""
    reader, stamp, evaluations, earlier = RecordReader(run_dir), None, 0, _summary_time(run_dir)
    while not stop.wait(_LOOK_EVERY_S):
        if stamp == (stamp := reader.stamp()):
            continue
        over = _summary_time(run_dir) not in (None, earlier)
        record = reader.read()
        if over or len(record.evaluations) != evaluations:
            evaluations = len(record.evaluations)
            _write(run_dir, record)
        if over:
            return


def _summary_time(run_dir: Path) -> int | None:
    """When the summary was written, in ns; None: there is none."""
    summary = run_dir / "summary.json"
    return summary.stat().st_mtime_ns if summary.is_file() else None


def _write(run_dir: Path, record: Record) -> None:
    """A disk that is full, or a folder that is gone, must not end the page of a run."""
    try:
        write_report(run_dir, record=record)
    except OSError as error:
        log.warning("%s/%s cannot be written: %s", run_dir, NAME, error.strerror)
