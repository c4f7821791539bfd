"""Kill, stop and cut off learner and actors while identifiable rows flow; then count the rows.

    python -m tests.system.chaos --cycles 50 [--stop-s 30] [--link --cut-s 20] [--pictures] [--actors 2]
                                 [--limit-s 900]

Prints one JSON object and ends with 1 if a row is twice in the replay, or missing. `--link` puts the
actors into a network namespace of their own and cuts its link as well.
"""

import argparse
import collections
import json
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from learner.replay.dataset.arrow import read_parquet
from learner.replay.dataset.format.layout import (
    DATA_PATH,
    SIDECAR_PATH,
    file_name,
    file_number,
    parquet_files,
)
from learner.replay.dataset.format.video import from_png
from tests.support.identifiable import K
from tests.support.namespaces import HERE, Link, enter, inside, refusal
from tests.system.chaos_child import (
    CAMERAS,
    first_number,
    flowing_file,
    intervened_frames,
    picture_of,
    ready_file,
)

log = logging.getLogger("chaos")

# Long: a busy machine proves nothing.
PATIENCE_S = 180.0
FAULTS = ("kill learner", "kill actor", "kill both", "stop learner", "stop actor", "cut link")


class Crowd:
    """The processes, and what is done to them. `name` is "learner" or an actor's id."""

    def __init__(self, folder: Path, actors: int, link: Link | None, *, pictures: bool = False) -> None:
        self._folder, self._link = folder, link
        self._settings = folder / "settings.json"
        settings = make_settings(folder, HERE if link else "127.0.0.1")
        settings |= {"interventions": True, "pictures": pictures}
        self._settings.write_text(json.dumps(settings))
        self._log = (folder / "processes.log").open("ab")
        self.actors = [f"actor-{index}" for index in range(actors)]
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        for name in ("learner", *self.actors):
            self.start(name)

    def start(self, name: str) -> None:
        words = ["learner", str(self._settings)]
        before: list[str] = []
        if name != "learner":
            words = ["actor", str(self._settings), name]
            before = self._link.there if self._link else []
        self._running[name] = subprocess.Popen(
            [*before, sys.executable, "-m", "tests.system.chaos_child", *words],
            stdout=self._log,
            stderr=self._log,
        )

    def kill(self, name: str) -> None:
        self._running[name].kill()
        self._running[name].wait()

    def pause(self, name: str, seconds: float) -> None:
        self._running[name].send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        self._running[name].send_signal(signal.SIGCONT)

    def cut(self, seconds: float) -> None:
        assert self._link is not None
        self._link.cut()
        time.sleep(seconds)
        self._link.mend()

    def finish(self, timeout_s: float) -> None:
        """Actors flush and end; then the learner ends."""
        for names in (self.actors, ["learner"]):
            for name in names:
                self._running[name].terminate()
            for name in names:
                code = self._running[name].wait(timeout_s)
                if code != 0:
                    raise RuntimeError(f"{name} ended with {code}: see {self._folder / 'processes.log'}")

    def wait_until_begun(self, timeout_s: float) -> None:
        """Nobody is still importing."""
        self._wait_for_files(self._running, ready_file, timeout_s)

    def wait_until_flowing(self, timeout_s: float) -> None:
        """Every actor that runs now has rows on the learner's disk."""
        self._wait_for_files(self.actors, flowing_file, timeout_s)

    def _wait_for_files(
        self, names: Iterable[str], file_of: Callable[[Path, int], Path], timeout_s: float
    ) -> None:
        deadline_s = time.monotonic() + timeout_s
        for name in names:
            while not file_of(self._folder, self._running[name].pid).exists():
                self.check_alive()
                assert time.monotonic() < deadline_s, f"{name} never got so far"
                time.sleep(0.02)

    def check_alive(self) -> None:
        """Nobody ends unasked."""
        for name, process in self._running.items():
            if process.poll() is not None:
                log_text = (self._folder / "processes.log").read_text()[-2000:]
                raise RuntimeError(f"{name} ended with {process.returncode}: {log_text}")

    def end(self) -> None:
        for process in self._running.values():
            if process.poll() is None:
                process.kill()
                process.wait()
        self._log.close()


def make_settings(folder: Path, host: str) -> dict[str, Any]:
    """Short times, small queues and small segments, so that every edge is met often."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
    wire = {
        "host": host, "experience_port": ports[0], "weights_port": ports[1], "insecure": True,
        "keys_dir": None, "credit_rows": 256, "heartbeat_s": 0.2, "lease_s": 1.0, "connect_timeout_s": 300.0,
        "max_header_bytes": 65536, "max_arrays": 64, "max_rank": 5, "max_message_bytes": 1 << 24,
    }  # fmt: skip
    journal = {
        "sync_s": 0.1, "sync_bytes": 1 << 20, "segment_bytes": 200_000, "spare_segments": 2,
        "pending_bytes": 1 << 20,
    }  # fmt: skip
    return {"wire": wire, "journal": journal, "folder": str(folder), "rows_per_s": 1500.0}


def run_cycles(crowd: Crowd, options: argparse.Namespace, rng: random.Random) -> collections.Counter[str]:
    """One fault a cycle, in random order; each kind at least once if the cycles suffice."""
    kinds = FAULTS if options.link else FAULTS[:-1]
    plan = list(kinds) + [rng.choice(FAULTS[:3]) for _ in range(options.cycles)]
    plan = plan[: options.cycles]
    rng.shuffle(plan)
    done: collections.Counter[str] = collections.Counter()
    limit_s = time.monotonic() + options.limit_s
    for number, fault in enumerate(plan):
        if rng.random() < 0.75:  # else perhaps in the middle of a start
            crowd.wait_until_begun(PATIENCE_S)
        time.sleep(rng.uniform(0.0, 1.5))
        crowd.check_alive()
        if time.monotonic() > limit_s:
            log.warning("the time is over after %d cycles", number)
            break
        log.info("cycle %d: %s", number, fault)
        commit_fault(crowd, fault, options, rng)
        done[fault] += 1
    return done


def commit_fault(crowd: Crowd, fault: str, options: argparse.Namespace, rng: random.Random) -> None:
    actor = rng.choice(crowd.actors)
    match fault:
        case "kill learner":
            hurt = ["learner"]
        case "kill actor":
            hurt = [actor]
        case "kill both":
            hurt = ["learner", actor]
            rng.shuffle(hurt)
        case "stop learner":
            return crowd.pause("learner", options.stop_s)
        case "stop actor":
            return crowd.pause(actor, options.stop_s)
        case _:
            return crowd.cut(options.cut_s)
    for name in hurt:
        crowd.kill(name)
    time.sleep(rng.uniform(0.0, 0.5))
    for name in hurt:
        crowd.start(name)
    return None


def read_rows(replay: Path) -> Iterator[tuple[tuple[str, int, int, int, int], float]]:
    """Every decision in the dataset, (actor id, session, sub-environment, episode, decision), and its
    first observation number."""
    for number in map(file_number, parquet_files(replay / "data")):
        frames = read_parquet(replay / file_name(DATA_PATH, number))
        values = (
            frames["observation.state"].combine_chunks().flatten().to_numpy().reshape(len(frames), -1)[:, 0]
        )
        starts = iter(values[frames["decision_start"].to_numpy()].tolist())
        for episode in read_parquet(replay / file_name(SIDECAR_PATH, number)).to_pylist():
            lane = episode["actor_id"], episode["session"], episode["sub_env"], episode["episode"]
            for decision in range(len(episode["positions"])):
                yield (*lane, decision), next(starts)


def count_interventions(replay: Path) -> tuple[int, int] | None:
    """Frames in the dataset that somebody intervened in, and frames that say so wrongly.
    None: the dataset does not say it."""
    intervened = wrong = 0
    for number in map(file_number, parquet_files(replay / "data")):
        frames = read_parquet(replay / file_name(DATA_PATH, number))
        if "is_intervention" not in frames.column_names:
            return None
        said = frames["is_intervention"].to_numpy()
        values = frames["observation.state"].combine_chunks().flatten().to_numpy().reshape(len(frames), -1)
        first = frames["decision_start"].to_numpy()
        decision = np.cumsum(first) - 1
        frame = np.arange(len(frames)) - np.flatnonzero(first)[decision]
        wanted = (values[:, 0].astype(np.int64) >> frame) % 2 == 1
        intervened += int(said.sum())
        wrong += int((said != wanted).sum())
    return intervened, wrong


def count_pictures(replay: Path) -> tuple[int, int] | None:
    """Pictures in the dataset, final ones included, and those that are not of their frame.
    None: the dataset has none."""
    there = wrong = 0
    for number in map(file_number, parquet_files(replay / "data")):
        frames = read_parquet(replay / file_name(DATA_PATH, number))
        if f"observation.images.{CAMERAS[0]}" not in frames.column_names:
            return None
        values = frames["observation.state"].combine_chunks().flatten().to_numpy().reshape(len(frames), -1)
        first = frames["decision_start"].to_numpy()
        frame = np.arange(len(frames)) - np.flatnonzero(first)[np.cumsum(first) - 1]
        sidecar = read_parquet(replay / file_name(SIDECAR_PATH, number))
        ends = frames["episode_index"].to_numpy()
        last = np.flatnonzero(np.append(ends[1:] != ends[:-1], True))
        # Of an episode that a killed actor left nobody knows the end.
        known = np.flatnonzero(sidecar["final_known"].to_numpy())
        wanted = [*(values[:, 0] + frame), *(values[last[known], 0] + K)]
        for camera in CAMERAS:
            finals = sidecar[f"final_image.{camera}"].to_pylist()
            shown = [cell["bytes"] for cell in frames[f"observation.images.{camera}"].to_pylist()]
            shown += [finals[episode] for episode in known]
            there += len(shown)
            wrong += sum(
                not np.array_equal(from_png(content), picture_of(value, camera))
                for content, value in zip(shown, wanted, strict=True)
            )
    return there, wrong


def count_places(replay: Path) -> int:
    """How many decisions share their place in the stream of rows with another."""
    places: list[int] = []
    for number in map(file_number, parquet_files(replay / "data")):
        sidecar = read_parquet(replay / file_name(SIDECAR_PATH, number))
        places += [place for episode in sidecar["positions"].to_pylist() for place in episode]
    return len(places) - len(set(places))


def count(folder: Path, actors: list[str]) -> dict[str, int]:
    """What was sent, what was promised and what is there."""
    everything = list(read_rows(folder / "replay"))
    held = collections.Counter((row, value) for row, value in everything if row[0] in actors)
    found = {row for row, _ in held}
    result: collections.Counter[str] = collections.Counter()
    result["rows_in_replay"] = sum(held.values())
    result["twice"] = sum(times - 1 for times in held.values())
    result["wrong_content"] = sum(value != first_number(*row[1:]) for row, value in held)
    if (said := count_interventions(folder / "replay")) is not None:
        result["frames_intervened"], result["frames_wrongly_intervened"] = said
        wanted = sum(sum(intervened_frames(first_number(*row[1:]))) for row in found)
        result["intervened_missing_or_twice"] = abs(said[0] - wanted)
    if (pictures := count_pictures(folder / "replay")) is not None:
        result["pictures"], result["pictures_of_other_frames"] = pictures
    result["places_shared"] = count_places(folder / "replay")
    sent: set[tuple] = set()
    for actor_id in actors:
        newest_version = 0
        for session, notes in read_notes(folder / f"{actor_id}.notes").items():
            said = [[(actor_id, session, *row) for row in rows] for kind, rows in notes if kind == "sending"]
            sent_batches = sum(kind == "sent" for kind, _ in notes)
            promised = max((what for kind, what in notes if kind == "durable"), default=0)
            flushed = any(kind == "flushed" for kind, _ in notes)
            arrived = [sum(row in found for row in batch) for batch in said]
            rows = sum(map(len, said[:sent_batches]))
            result["sessions"] += 1
            result["rows_sent"] += rows
            result["sent_missing"] += rows - sum(arrived[:sent_batches])
            result["rows_promised"] += sum(map(len, said[:promised]))
            result["unpromised_of_killed_actors"] += (
                0 if flushed else sum(map(len, said[promised:sent_batches]))
            )
            # Of one batch a process was killed within the call of `send`: it may be there, or not.
            result["rows_in_the_call"] += sum(map(len, said[sent_batches:]))
            result["of_these_there"] += sum(arrived[sent_batches:])
            result["broken_batches"] += sum(0 < n < len(b) for n, b in zip(arrived, said, strict=True))
            for version in (what for kind, what in notes if kind == "version"):
                result["versions_adopted"] += 1
                result["versions_backwards"] += version < newest_version
                newest_version = max(newest_version, version)
            sent.update(row for batch in said for row in batch)
    result["never_sent"] = len(found - sent)
    return dict(result)


def read_notes(path: Path) -> dict[int, list[tuple[str, Any]]]:
    """Session -> (kind, what) in order; a killed process may leave half a line, the next one ends it."""
    notes: dict[int, list[tuple[str, Any]]] = collections.defaultdict(list)
    for line in path.read_bytes().splitlines():
        session, kind, what = json.loads(line)
        notes[session].append((kind, what))
    return notes


def verdict(result: dict[str, int]) -> list[str]:
    """The laws that the count breaks."""
    laws = (
        "sent_missing", "twice", "wrong_content", "broken_batches", "versions_backwards", "never_sent",
        "places_shared", "frames_wrongly_intervened", "intervened_missing_or_twice",
        "pictures_of_other_frames",
    )  # fmt: skip
    return [f"{law}: {result[law]}" for law in laws if result.get(law)]


def run(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All cycles, the end in peace, and the count."""
    started_s = time.monotonic()
    rng = random.Random(options.seed)
    link = Link() if options.link else None
    if link is not None:
        link.__enter__()
    crowd = Crowd(folder, options.actors, link, pictures=options.pictures)
    try:
        done = run_cycles(crowd, options, rng)
        crowd.wait_until_flowing(PATIENCE_S)
        crowd.finish(PATIENCE_S)
    finally:
        crowd.end()
        if link is not None:
            link.__exit__()
    result: dict[str, Any] = count(folder, crowd.actors)
    left = sum(path.stat().st_size for path in (folder / "journal").glob("*"))
    return result | {
        "faults": dict(done), "cycles": sum(done.values()), "journal_bytes_left": left,
        "broken": verdict(result), "wall_s": round(time.monotonic() - started_s, 1),
    }  # fmt: skip


def parse(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.system.chaos")
    parser.add_argument("--cycles", type=int, default=50)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--stop-s", type=float, default=30.0)
    parser.add_argument("--cut-s", type=float, default=20.0)
    parser.add_argument("--limit-s", type=float, default=900.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--link", action="store_true")
    parser.add_argument("--pictures", action="store_true")
    parser.add_argument("--folder", type=Path, default=None)
    return parser.parse_args(words)


def main(words: list[str]) -> int:
    options = parse(words)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    if options.link and not inside():
        reason = refusal()
        if reason is not None:
            log.error("no link to cut: %s", reason)
            return 2
        child = enter("tests.system.chaos", words)
        output, _ = child.communicate()
        sys.stdout.write(output)
        return child.returncode
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or Path(scratch)
        os.makedirs(folder, exist_ok=True)
        result = run(options, folder)
    sys.stdout.write(json.dumps(result) + "\n")
    return 1 if result["broken"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
