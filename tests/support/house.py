"""A copy of this repository in which a page's commands can be run as they stand."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from config.compose import compose_config, write_config
from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.format.spec import DatasetSpec
from learner.replay.dataset.writer import LeRobotWriter
from tests.support.documents import ROOT
from tests.support.helpers import left_running
from tests.support.identifiable import ACT, OBS, make_stream, pack

# Defaults that make a run one of seconds; a command that sets them itself gets what it asks for.
SMALL = {
    "learner": {
        "total_frames": 1000, "publish_every_s": 0.5, "log_every_s": 1.0, "episodes": 4,
        "interim_episodes": 2, "mode": "disabled", "videos": 0,
    },
    "actor": {"count": 1, "num_envs": 2, "rows_per_batch": 8},
    "algo/residual_td3": {"learning_starts": 60, "critic_warmup_updates": 10, "batch_size": 32},
    "algo/policy_decorator": {"learning_starts": 60, "batch_size": 32},
    "algo/dawn": {"learning_starts": 60, "batch_size": 32},
    "algo/dsrl": {"learning_starts": 60, "batch_size": 32},
    "algo/resfit": {"learning_starts": 600, "critic_warmup_updates": 10, "batch_size": 32},
    "algo/rlpd": {"learning_starts": 100, "batch_size": 32},
    "demos/main": {"episodes": 4},
    "train_base/main": {"n_groups": 4, "every": 60, "episodes": 2, "num_envs": 1, "max_episode_steps": 12},
    "train_base/preset/small": {"iterations": 60, "unet_dims": [8, 16], "batch_size": 16},
}  # fmt: skip


class House:
    """The copy, its environment's programs on the path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _copy_files(folder)
        _link_environment(folder)

    def environment(self) -> dict[str, str]:
        """Packages come from the copy, not from where `.venv` was made; nothing asks the Hub."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
        packages = os.pathsep.join([str(self.folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        path = f"{self.folder}/.venv/bin{os.pathsep}{os.environ['PATH']}"
        return kept | {"PATH": path, "PYTHONPATH": packages, "HF_HUB_OFFLINE": "1"}

    def run(self, command: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """What a person gets who pastes `command` into a terminal here. It must leave nobody running."""
        process = subprocess.Popen(
            ["bash", "-c", command], cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            output, _ = process.communicate(timeout=timeout_s)
        finally:
            left = left_running(process.pid, timeout_s=5 if process.poll() is not None else 0)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        assert left == [], command
        return subprocess.CompletedProcess(command, process.returncode, output)

    def start(self, command: str, log: Path) -> subprocess.Popen[bytes]:
        """The same in the background, in a session of its own."""
        with log.open("wb") as file:
            return subprocess.Popen(
                ["bash", "-c", command], cwd=self.folder, env=self.environment(), stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, start_new_session=True,
            )  # fmt: skip

    def set_defaults(self, file: str, **values: object) -> None:
        """Other defaults in config/`file`.yaml, whatever section they are in."""
        path = self.folder / "config" / f"{file}.yaml"
        text = path.read_text()
        for key, value in values.items():
            text, found = re.subn(rf"(?m)^(\s*{key}: )[^#\n]*", rf"\g<1>{json.dumps(value)} ", text)
            assert found, f"{path} has no {key}"
        path.write_text(text)

    def make_small(self, ports: tuple[int, int]) -> None:
        """Runs of seconds, on ports of their own."""
        for file, values in SMALL.items():
            self.set_defaults(file, **values)
        self.set_defaults("wire", experience_port=ports[0], weights_port=ports[1])

    def add_finished_run(self, name: str, actor: str) -> None:
        """runs/`name` with all that the tools look at; its experience is made up."""
        folder = self.folder / "runs" / name
        config = compose_config([f"name={name}"])
        write_config(folder / "launch.yaml", config)
        write_config(folder / "config.yaml", config)
        _write_replay(folder / "replay", name, actor)
        points = [_point(frames) for frames in range(0, 40_000, 2_000)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(point) + "\n" for point in points))
        summary = {"run": name, "base_success": 0.4, "final_success": 0.9, "frames": 40_000, "wall_s": 60.0}
        (folder / "summary.json").write_text(json.dumps(summary))


def _copy_files(folder: Path) -> None:
    words = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def _link_environment(folder: Path) -> None:
    """A `.venv` that set-up finds ready: links to this one's, with the stamp of this place."""
    (folder / ".venv").mkdir()
    for entry in Path(sys.prefix).iterdir():
        if entry.name != "stamp":
            (folder / ".venv" / entry.name).symlink_to(entry)
    asked = f"{folder}\n".encode()
    asked += b"".join((folder / name).read_bytes() for name in ("requirements.lock", "pyproject.toml"))
    (folder / ".venv" / "stamp").write_text(hashlib.sha256(asked).hexdigest() + "\n")


def _write_replay(folder: Path, name: str, actor: str) -> None:
    truths, _ = make_stream(actor, 0, [6, 3, 5, 9, 4], sub_envs=1)
    spec = DatasetSpec(name, OBS, ACT, fps=20, robot_type="panda", task="PickCube-v1", state_dim=3)
    writer, assembler, position = LeRobotWriter(folder, spec, None), EpisodeAssembler(), 0
    for truth in truths:
        writer.append(assembler.add(actor, 7, [(pack(truth.rows), position)]))
        position += len(truth.rows) + 1
        writer.commit()


def _point(frames: int) -> dict[str, object]:
    evaluated = {"success_full": 0.4 + frames / 80_000, "eval_episodes": 40, "eval_version": frames // 100}
    counts = {"t_s": frames / 800, "frames": frames, "decisions": frames // 4, "updates": frames // 16}
    return counts | (evaluated if frames % 8_000 == 0 else {"success_behaviour": 0.5, "episodes": 100})
