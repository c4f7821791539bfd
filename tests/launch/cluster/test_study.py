"""What a study remembers of the runs that it submitted."""

from pathlib import Path

import msgspec

from launch.cluster.study import Waiting, submitted_before
from launch.run.code_version import CodeVersion
from launch.study.study import read_study


def test_a_line_that_was_cut_short_is_no_run(tmp_path: Path) -> None:
    study, code = read_study([f"record={tmp_path}/record.jsonl"]), CodeVersion.here()
    run = Waiting("one", "pick_cube", "default", 1, (), code.commit, code.digest, "2026-01-01 00:00")
    file = tmp_path / "submitted.jsonl"
    whole = msgspec.json.encode(run) + b"\n"
    file.write_bytes(whole + whole[:20])
    assert submitted_before(study, tmp_path, code) == [run]
    assert file.read_bytes() == whole
