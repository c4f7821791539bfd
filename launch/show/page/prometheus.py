"""The newest figures of a run for Prometheus."""

import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from launch.show.page.record import Record

# Key of a point -> name after residual_rl_, and what it is.
GAUGES = {
    "frames": ("frames", "Environment frames received"),
    "decisions": ("decisions", "Decisions received"),
    "updates": ("updates", "Updates made"),
    "episodes": ("episodes", "Training episodes that ended"),
    "t_s": ("training_seconds", "Seconds since the first experience"),
    "frames_per_s": ("frames_per_second", "Frames received per second"),
    "updates_per_s": ("updates_per_second", "Updates per second"),
    "success_behaviour": ("behaviour_success", "Success of the last 100 training episodes"),
    "policy_lag": ("policy_lag_versions", "How many versions the received decisions are behind"),
    "policy_lag_s": ("policy_lag_seconds", "How old the weights behind the received decisions are"),
    "actors": ("actors", "Actors that are connected"),
    "queue_rows": ("queue_rows", "Rows that wait for the learner"),
    "disk_mb": ("disk_megabytes", "Size of the run's folder"),
}


class RunCollector(Collector):
    """Asks for the record at each scrape."""

    def __init__(self, record: Callable[[], Record]) -> None:
        self._record = record

    def collect(self) -> Iterator[Metric]:
        record = self._record()
        for key, (name, meaning) in GAUGES.items():
            yield _gauge(record, name, meaning, record.newest(key))
        base, full = record.base, record.full
        yield _gauge(record, "base_success", "Success of the base alone", base and base.rate)
        yield _gauge(record, "success", "Success of the newest evaluation", full[-1].rate if full else None)
        yield _gauge(record, "over", "1 if the run is over", float(record.is_over))
        last = record.last_word_unix
        yield _gauge(
            record, "silent_seconds", "Since the last point", None if last is None else time.time() - last
        )


def exposition(record: Callable[[], Record]) -> bytes:
    """In Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(RunCollector(record))
    return generate_latest(registry)


def _gauge(record: Record, name: str, meaning: str, value: float | None) -> Metric:
    """Without a sample where the value is not known."""
    family = GaugeMetricFamily(f"residual_rl_{name}", meaning, labels=["run"])
    if isinstance(value, int | float):
        family.add_metric([record.name], value)
    return family
