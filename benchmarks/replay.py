"""How fast experience reaches the disk and batches leave the ring, beside others in the same run.

Rows of the default task (observation 42, action 7, episodes of 50 frames). On disk: the whole store,
from messages to a closed dataset, beside LeRobot's own writer and pyarrow alone with the same rows of
frames (and once more with the tables of episodes). In memory: the ring beside a bare index_select of the
same rows (where transitions begin and where they end), lerobot.rl's ReplayBuffer and stable-baselines3's,
with 100,000 rows each. The last is an extra of this project: bash launch/setup_env.sh bench installs it.

Takes minutes, most of them for the largest capacity. One thread for torch. Medians over the rounds. Rates
are a second of wall time, or of processor time of all threads (--clock cpu), which leaves out waiting for the
disk and for other processes.
"""

import importlib.util
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from benchmarks.command import make_parser, print_result
from learner.replay.dataset.arrow import read_parquet
from learner.replay.dataset.shard_files import shard_writer
from learner.replay.dataset.store import LeRobotStore
from learner.replay.memory.draw import draw_linked
from learner.replay.memory.ring import Ring
from protocol.messages import Columns

O, A, K = 42, 7, 4  # noqa: E741  observation_dim, action_dim, residual_every
EPISODE = 50
SUB_ENVS = 64
ROWS = 256
BATCH = 1024
KEYS = {
    "clock": "wall or cpu: of which time the rates are",
    "ours": "frames a second that the store writes",
    "peer": "the same of LeRobot's writer",
    "ratio": "ours / peer",
    "ceiling": "the same of pyarrow alone",
    "ceiling_ratio": "ours / ceiling",
    "ring": "for each capacity: rows added and batches sampled a second, beside the others",
    "transitions_added_per_s_of": "for each of the other buffers",
    "disk": "frames_written_per_s as above, the rate of pyarrow with the episodes' tables, and how the rate "
    "changes as the dataset grows",
}
MISSING = "not installed: bash launch/setup_env.sh bench"


def messages(
    frames: int, every: int, seed: int = 0, *, rows: int = ROWS, sub_envs: int = SUB_ENVS
) -> Iterator[Columns]:
    """What one actor of `sub_envs` simulators sends, `frames` frames or a little less, `rows` at once."""
    rng = np.random.default_rng(seed)
    numbers = {"observation": O, "action": A, "base_plan": A, "residual": A}
    fixed: Columns = {name: rng.standard_normal((rows, every, n), np.float32) for name, n in numbers.items()}
    fixed["reward"] = rng.random((rows, every), np.float32)
    fixed["success"] = rng.random((rows, every)) < 0.1
    fixed["truncated"] = np.zeros(rows, bool)
    fixed["sub_env"] = np.tile(np.arange(sub_envs, dtype=np.int32), rows // sub_envs)
    fixed["weights_version"] = np.zeros(rows, np.int64)
    decisions = -(-EPISODE // every)
    for first in range(0, frames // (every * sub_envs), rows // sub_envs):
        step = first + np.repeat(np.arange(rows // sub_envs), sub_envs)
        last = step % decisions == decisions - 1
        ends = np.flatnonzero(last).astype(np.int32)
        yield fixed | {
            "frames": np.where(last, EPISODE - (decisions - 1) * every, every).astype(np.int32),
            "terminated": last,
            "episode": step // decisions,
            "decision": (step % decisions).astype(np.int32),
            "final_row": ends,
            "final_observation": np.zeros((len(ends), O), np.float32),
            "final_base_plan": np.zeros((len(ends), every, A), np.float32),
        }


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
clock = CLOCKS["wall"]


def rate(count: float, work: Callable[[], object]) -> float:
    """So many things a second of the chosen clock."""
    started = clock()
    work()
    return count / (clock() - started)


def open_store(folder: Path, flush_s: float = 5.0, **more: Any) -> LeRobotStore:
    return LeRobotStore(
        folder, repo_id="benchmark/replay", observation_dim=O, action_dim=A, fps=20, robot_type="panda",
        task="PickCube-v1", queue_episodes=256, flush_s=flush_s, **more,
    )  # fmt: skip


def store_rate(folder: Path, frames: int, every: int) -> float:
    """Frames a second from messages in memory to a closed dataset.

    In one commit, as on a machine of one's own, however long others let it wait: `growth` has many.
    """
    sent = list(messages(frames, every))
    started = clock()
    with open_store(folder, flush_s=3600.0) as store:
        for columns in sent:
            store.add("actor", 1, columns)
    return store.frames / (clock() - started)


def pyarrow_rate(dataset: Path, target: Path, others: tuple[str, ...] = ()) -> float:
    """Frames a second of pyarrow alone: the rows of a dataset, one row group an episode.

    Args:
        others: folders of the dataset whose tables are written as well, in one piece each.
    """

    def read(folder: str) -> pa.Table:
        files = sorted((dataset / folder).rglob("*.parquet"))
        return pa.concat_tables(map(read_parquet, files)).combine_chunks()

    frames, rest = read("data"), [read(folder) for folder in others]

    def write() -> None:
        with shard_writer(target, frames.schema) as writer:
            writer.write_table(frames, row_group_size=EPISODE)
        for table in rest:
            pq.write_table(table, target, use_dictionary=False, write_statistics=False)

    return rate(len(frames), write)


def lerobot_frames(dataset: Path, episodes: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Features of a dataset, and frames of its first episodes, for LeRobot's writer; without pictures."""
    from lerobot.utils.constants import DEFAULT_FEATURES

    info = json.loads((dataset / "meta/info.json").read_text())
    features = {
        name: feature | {"shape": tuple(feature["shape"])}
        for name, feature in info["features"].items()
        if name not in DEFAULT_FEATURES and feature["dtype"] not in ("image", "video")
    }
    path = sorted((dataset / "data").rglob("*.parquet"))[0]
    rows = pq.ParquetFile(path).read_row_groups([*range(episodes)], columns=list(features)).to_pylist()
    kinds = {name: np.dtype(feature["dtype"]) for name, feature in features.items()}
    return features, [
        {name: np.atleast_1d(np.array(value, kinds[name])) for name, value in row.items()} for row in rows
    ]


def record(made: Any, frames: Iterable[dict[str, Any]]) -> None:
    """Let a LeRobotDataset write frames, in episodes of EPISODE, and close it."""
    for number, frame in enumerate(frames, start=1):
        made.add_frame(frame | {"task": "PickCube-v1"})
        if number % EPISODE == 0:
            made.save_episode()
    made.finalize()


def lerobot_rate(dataset: Path, target: Path, episodes: int = 20) -> float:
    """Frames a second of LeRobot's own writer, for the first episodes of a dataset."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    features, frames = lerobot_frames(dataset, episodes)
    made = LeRobotDataset.create("benchmark/theirs", fps=20, features=features, root=target, use_videos=False)
    return rate(len(frames), lambda: record(made, frames))


def growth(folder: Path, frames: int, parts: int = 10) -> dict[str, Any]:
    """Each part of one long dataset, with more commits than by default, and its end, where shards become one.

    Processor time a frame beside frames a second: other work on the machine changes the latter alone.
    """
    sent = list(messages(frames // parts, K))
    decisions = -(-EPISODE // K)
    written = len(sent) * ROWS // SUB_ENVS // decisions * SUB_ENVS * EPISODE
    rates, costs = [], []
    started = time.perf_counter()
    with open_store(folder, flush_s=2.0) as store:
        for part in range(parts):
            before = time.perf_counter(), time.process_time()
            for columns in sent:
                # Another session each time: its episodes begin anew.
                store.add("actor", part, columns)
            while store.pending:
                time.sleep(0.001)
            rates.append(written / (time.perf_counter() - before[0]))
            costs.append((time.process_time() - before[1]) / written)
        ending = time.perf_counter()
    ended = time.perf_counter()
    return {
        "frames": store.frames,
        "frames_per_s_by_tenth": [round(value) for value in rates],
        "cpu_us_per_frame_by_tenth": [round(1e6 * value, 2) for value in costs],
        "cpu_ratio_last_to_first_tenth": round(costs[-1] / costs[0], 2),
        "ending_s": round(ended - ending, 1),
        "frames_per_s_with_the_end": round(store.frames / (ended - started)),
        "files_of_frames": len(list((folder / "data").rglob("*.parquet"))),
    }


def disk(rounds: int, frames: int) -> dict[str, Any]:
    """Figures of writing."""
    results: dict[str, list[float]] = {"ours": [], "peer": [], "ceiling": [], "all": []}
    with tempfile.TemporaryDirectory() as place:
        for number in range(rounds):
            folder = Path(place) / f"ours-{number}"
            results["ours"].append(store_rate(folder, 200_000, K))
            target = Path(place) / "ceiling.parquet"
            results["ceiling"].append(pyarrow_rate(folder, target))
            results["all"].append(pyarrow_rate(folder, target, ("meta/episodes", "sidecar")))
            results["peer"].append(lerobot_rate(folder, Path(place) / f"theirs-{number}"))
        grown = growth(Path(place) / "long", frames)
    middle = {name: statistics.median(values) for name, values in results.items()}
    return {
        "frames_written_per_s": compared(middle["ours"], middle["peer"], middle["ceiling"]),
        "frames_per_s_of_pyarrow_with_the_episodes_tables": round(middle["all"]),
        "growth": grown,
    }


def memory(rounds: int, capacity: int, peers: dict[str, Callable[[], object]]) -> dict[str, Any]:
    """Figures of the ring at one size, after it has wrapped around.

    Args:
        peers: what each other buffer does for a batch.
    """
    ring, rng = Ring(capacity, O, K * A), np.random.default_rng(0)
    adds = add_rate(ring, list(messages(int(capacity * 1.05 * K), K)))
    draws: dict[int, list[float]] = {1: [], 5: []}
    others: dict[str, list[float]] = {name: [] for name in peers}
    bare: list[float] = []
    # In short turns, so that all sides meet the same neighbours on the machine.
    for _ in range(rounds * 20):
        for n, rates in draws.items():
            rates.append(rate(25, lambda n=n: repeat(25, draw, ring, rng, n)))
        starts = [draw_linked(ring.rows, BATCH, rng) for _ in range(25)]
        pairs = [(torch.from_numpy(start), torch.from_numpy(ring.rows.following[start])) for start in starts]
        pair = iter(pairs)
        bare.append(rate(25, lambda pair=pair: repeat(25, select, ring, pair)))
        for name, sample in peers.items():
            others[name].append(rate(25, lambda sample=sample: repeat(25, sample)))
    ceiling = statistics.median(bare)
    return {
        "transitions_added_per_s": round(adds),
        **{
            f"batches_of_{BATCH}_per_s_{n}_step": compared(statistics.median(rates), None, ceiling)
            for n, rates in draws.items()
        },
        **{
            f"batches_of_{BATCH}_per_s_of_{name}": round(statistics.median(rates))
            for name, rates in others.items()
        },
        "planned_mb": round(ring.nbytes / 1e6),
    }


def add_rate(ring: Ring, sent: list[Columns]) -> float:
    return rate(len(sent) * ROWS, lambda: [ring.add("actor", columns) for columns in sent])


def draw(ring: Ring, rng: np.random.Generator, n: int) -> object:
    return ring.sample(BATCH, rng, n_step=n, gamma=0.97, reward_offset=0.0)


def repeat(times: int, work: Callable[..., object], *args: object) -> None:
    """What each call returns is freed at once, as an update does with its batch."""
    for _ in range(times):
        work(*args)


def select(ring: Ring, pairs: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> object:
    start, end = next(pairs)
    return ring.rows.block.index_select(0, start), ring.rows.block[:, : O + K * A].index_select(0, end)


def lerobot_buffer(rows: int = 100_000) -> tuple[float, Callable[[], object]]:
    """lerobot.rl's ReplayBuffer with the same numbers a transition: adds a second, and a batch of it."""
    from lerobot.rl.buffer import ReplayBuffer

    buffer = ReplayBuffer(rows, "cpu", ["observation.state"], use_drq=False, storage_device="cpu")
    state, action = {"observation.state": torch.ones(1, O)}, torch.ones(1, 2 * K * A)
    added = rate(rows, lambda: repeat(rows, buffer.add, state, action, 0.0, state, False, False))
    return added, lambda: buffer.sample(BATCH)


def stable_baselines3_buffer(rows: int = 100_000) -> tuple[float, Callable[[], object]] | None:
    """The same of stable-baselines3's ReplayBuffer, SUB_ENVS rows an add; None where it is not installed."""
    if importlib.util.find_spec("stable_baselines3") is None:
        return None
    from gymnasium.spaces import Box
    from stable_baselines3.common.buffers import ReplayBuffer  # pyright: ignore[reportMissingImports]

    spaces = (Box(-1, 1, (numbers,), np.float32) for numbers in (O, 2 * K * A))
    buffer = ReplayBuffer(rows, *spaces, device="cpu", n_envs=SUB_ENVS)
    state, action = np.ones((SUB_ENVS, O), np.float32), np.ones((SUB_ENVS, 2 * K * A), np.float32)
    reward, done, infos = np.zeros(SUB_ENVS), np.zeros(SUB_ENVS), [{}] * SUB_ENVS
    calls = rows // SUB_ENVS
    words = (state, state, action, reward, done, infos)
    added = rate(calls * SUB_ENVS, lambda: repeat(calls, buffer.add, *words))
    return added, lambda: buffer.sample(BATCH)


def compared(ours: float, peer: float | None, ceiling: float) -> dict[str, float | None]:
    return {
        "ours": round(ours),
        "peer": None if peer is None else round(peer),
        "ratio": None if peer is None else round(ours / peer, 1),
        "ceiling": round(ceiling),
        "ceiling_ratio": round(ours / ceiling, 2),
    }


def main(argv: list[str]) -> None:
    parser = make_parser("benchmarks.replay", __doc__, KEYS)
    parser.add_argument("--rounds", type=int, default=3, help="%(default)s by default")
    parser.add_argument(
        "--frames", type=int, default=1_000_000, help="of the long dataset; %(default)s by default"
    )
    parser.add_argument(
        "--capacities", type=int, nargs="+", default=[200_000, 4_000_000], help="rows of the ring"
    )
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: where others use the machine")
    args = parser.parse_args(argv)
    global clock
    clock = CLOCKS[args.clock]
    torch.set_num_threads(1)
    made = {"lerobot_rl": lerobot_buffer(), "stable_baselines3": stable_baselines3_buffer()}
    there = {name: buffer for name, buffer in made.items() if buffer is not None}
    peers = {name: sample for name, (_, sample) in there.items()}
    result = {
        "clock": args.clock,
        "ring": {str(capacity): memory(args.rounds, capacity, peers) for capacity in args.capacities},
        "transitions_added_per_s_of": {
            name: round(there[name][0]) if name in there else MISSING for name in made
        },
        "disk": disk(args.rounds, args.frames),
    }
    headline = result["disk"]["frames_written_per_s"]
    print_result(result | headline, KEYS)


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    main(sys.argv[1:])
