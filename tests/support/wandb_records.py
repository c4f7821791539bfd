"""What real wandb wrote offline."""

import json
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 30.0


def offline_records(folder: Path, kind: str, count: int = 1, run: int = 0) -> list[Any]:
    """The records of one kind, such as "run" or "artifact", of the first offline run in the folder, or of a
    later one; waits until there are `count`, since wandb's own process writes its last block after finish()
    has returned."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(found := _records(folder, kind, run)) < count and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return found


def offline_points(folder: Path, count: int = 1, run: int = 0) -> list[dict[str, Any]]:
    """What was logged, point by point."""
    records = offline_records(folder, "history", count, run)
    return [_values(record.item) for record in records]


def offline_summary(folder: Path, run: int = 0) -> dict[str, Any]:
    """What the runs' table of W&B would show."""
    offline_records(folder, "exit", run=run)
    values: dict[str, Any] = {}
    for record in offline_records(folder, "summary", run=run):
        values |= _values(record.update)
    return values


def _values(items: Any) -> dict[str, Any]:
    return {".".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}


def _records(folder: Path, kind: str, run: int) -> list[Any]:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, found = DataStore(), []
    store.open_for_scan(str(sorted(folder.glob("wandb/offline-run-*/*.wandb"))[run]))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == kind:
            found.append(getattr(record, kind))
    return found
