"""What real wandb wrote offline."""

import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 30.0


def offline_records(folder: Path, kind: str, count: int = 1) -> list[Any]:
    """The records of one kind, such as "run" or "artifact"; waits until there are `count`, since wandb's own
    process writes its last block after finish() has returned."""
    deadline_s = time.monotonic() + TIMEOUT_S
    while len(found := _records(folder, kind)) < count and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return found


def _records(folder: Path, kind: str) -> list[Any]:
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    store, found = DataStore(), []
    store.open_for_scan(str(next(folder.glob("wandb/offline-run-*/*.wandb"))))
    while (data := store.scan_data()) is not None:
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        if record.WhichOneof("record_type") == kind:
            found.append(getattr(record, kind))
    return found
