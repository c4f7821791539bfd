"""non_finite.json: the batch whose update was not finite, and where each of its rows is from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from config.files import replace_text
from learner.algorithms.finite import NonFinite

FILE = "non_finite.json"
# Of each field; a batch may consist of nothing else.
MOST_VALUES = 100


@dataclass(frozen=True)
class Batch:
    """B rows of a batch. Their origins are data classes that say in words where a row is from."""

    fields: Mapping[str, NDArray[Any]]
    """(B, ...) each."""
    start: Sequence[Any]
    end: Sequence[Any] | None = None
    """Of the fields `next_...`; None where there are none."""

    def origin(self, value: "Value") -> Any:
        return self.end[value.row] if self.end and value.field.startswith("next_") else self.start[value.row]


class Value(NamedTuple):
    """One number of a batch."""

    field: str
    row: int
    place: tuple[int, ...]
    value: float

    def __str__(self) -> str:
        return f"{self.field}{list(self.place) or ''} = {self.value:g}"


def write_non_finite(folder: Path, step: NonFinite, batch: Batch) -> str:
    """Write the file into a folder of checkpoints; returns in words which value to look at first.
    Raises OSError: it cannot be written."""
    values = [value for name in batch.fields for value in _remarkable(name, batch.fields[name])]
    values.sort(key=lambda value: -np.nan_to_num(abs(value.value), nan=np.inf))
    content = {
        "update": step.update,
        "what": str(step),
        "network": step.network,
        "loss": str(step.loss),
        "gradient_norm": str(step.gradient_norm),
        "values": [
            {"field": each.field, "row": each.row, "place": each.place, "value": str(each.value)}
            for each in values
        ],
        "rows": [_row(batch, row) for row in range(len(batch.start))],
    }
    folder.mkdir(parents=True, exist_ok=True)
    replace_text(folder / FILE, json.dumps(content, indent=1) + "\n")
    first = values[0]
    kind = "largest value is" if np.isfinite(first.value) else "values that are not finite begin with"
    return f"the batch's {kind} {first} from {batch.origin(first)}; all its rows are in {folder / FILE}"


def _remarkable(field: str, values: NDArray[Any]) -> list[Value]:
    """What is not finite, and the largest of the rest."""
    finite = np.isfinite(values)
    places = np.argwhere(~finite)[:MOST_VALUES].tolist()
    size = np.where(finite, np.abs(values), -1)
    places.append(list(np.unravel_index(size.argmax(), size.shape)))
    return [Value(field, int(row), tuple(map(int, rest)), float(values[row, *rest])) for row, *rest in places]


def _row(batch: Batch, row: int) -> dict[str, Any]:
    ends = {} if batch.end is None else {"end": _known(batch.end[row])}
    return {"row": row, "start": _known(batch.start[row]), **ends}


def _known(origin: Any) -> dict[str, Any]:
    return {name: value for name, value in asdict(origin).items() if value is not None}
