"""The commands of README.md and docs/how-to/ that take long, section by section, as they stand there.

They run in a copy of the repository whose defaults make a run one of seconds. tests/test_documents.py runs
the cheap ones, and finds commands that nobody runs.
"""

import itertools
import json
import os
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.documents import ROOT, SLOW, Command, all_commands, programs
from tests.support.fetch import needs_fetch
from tests.support.house import House
from tests.support.namespaces import refusal

TIMEOUT_S = 1500
# Copies a file, or several, from the home of learner-host.
SCP = """#!/bin/sh
for target; do :; done
for word; do
    case $word in learner-host:*) cp -p "{home}/${{word#*:}}" "$target" || exit 1 ;; esac
done
"""
SLURM, RAY = "docs/how-to/slurm.md", "docs/how-to/ray.md"  # test_slurm.py, test_ray.py
TWO_HOSTS, STOPPED = "docs/how-to/another-host.md", "docs/how-to/when-something-is-killed.md"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2 * TIMEOUT_S)]


def sections() -> Iterator[list[Command]]:
    """The slow commands of each section that needs neither a second host, nor a kill, nor a camera."""
    slow = [command for command in all_commands() if command.words.startswith(SLOW)]
    for (page, _), commands in itertools.groupby(slow, key=lambda command: (command.page, command.heading)):
        # What Fetch needs is installed, or its section is skipped. A base that sees: test_bring_your_base.py.
        left_out = ("cameras=[", "lerobot_train/", "setup_env.sh fetch")
        rest = [command for command in commands if not any(word in command.words for word in left_out)]
        if rest and page not in (TWO_HOSTS, STOPPED, SLURM, RAY, "docs/how-to/gpu.md"):
            yield rest


def name_of(commands: list[Command]) -> str:
    return f"{commands[0].page}: {commands[0].heading}"


@pytest.fixture
def house(tmp_path: Path, free_ports: tuple[int, int]) -> House:
    house = House(tmp_path / "residual-rl")
    house.make_small(free_ports)
    return house


def prepare(house: House, commands: list[Command]) -> None:
    """What a section takes for granted: earlier runs, programs of the page, and bases that the reader has."""
    for name, program in programs(ROOT / commands[0].page).items():
        (house.folder / name).write_text(program)
    text = "\n".join(command.words for command in commands)
    if "my-run" in text and "name=my-run" not in text:
        house.add_finished_run("my-run", actor="peg")
    for folder, save in BASES.items():
        if f"base.path={folder} " in text:
            save(house.folder / folder)


def save_published(folder: Path) -> None:
    """A checkpoint of Policy Decorator's, trained in ManiSkill2."""
    from actor.policy.diffusion.checkpoint import save_agent
    from actor.policy.diffusion.network import DiffusionAgent, DiffusionSpec

    spec = DiffusionSpec(
        env_id="PegInsertionSide-v2", control_mode="pd_ee_delta_pose", obs_dim=50, act_dim=7, obs_horizon=2,
        pred_horizon=16, diffusion_step_embed_dim=64, unet_dims=(64, 128, 256), n_groups=8,
    )  # fmt: skip
    agent = DiffusionAgent(spec)
    save_agent(folder, agent, agent, {"act_horizon": 4})


def save_lerobot(folder: Path) -> None:
    """A policy of LeRobot's for PickCube."""
    from learner.replay.prior.read import read_demonstrations
    from tests.support.lerobot_policies import make_policy, save

    save(
        folder,
        *make_policy(
            "act", read_demonstrations(ROOT / "bases" / "PickCube-v1" / "demos.h5").episodes[:3], 18
        ),
    )


def save_lerobot_with_camera(folder: Path) -> None:
    from tests.support.camera_policies import save_policy

    save_policy(folder, "act", ("observation.images.top",), size=(96, 96))


# What the reader has, by the name that a page gives it.
BASES = {
    "published": save_published, "my-policy": save_lerobot, "my-camera-policy": save_lerobot_with_camera,
}  # fmt: skip


def walk(house: House, commands: list[Command]) -> None:
    """Every command does what the page says: exit code 0, and what a run must leave."""
    prepare(house, commands)
    for command in commands:
        done = house.run(command.text, TIMEOUT_S)
        assert done.returncode == 0, f"{command}\n{done.stdout[-4000:]}"
        if command.words.startswith(("residual-rl run", "bash launch/start.sh")):
            check_newest_run(house)


def check_newest_run(house: House) -> None:
    """It ended by itself, with frames and an evaluation."""
    summaries = (house.folder / "runs").glob("*/summary.json")
    newest = max(summaries, key=lambda path: path.stat().st_mtime)
    summary = json.loads(newest.read_text())
    assert summary["frames"] >= 1000 and summary["evaluation_episodes"] == 4, summary


def marked(commands: list[Command]) -> Any:
    asks_for_fetch = any("fetch" in command.words for command in commands)
    return pytest.param(commands, marks=[needs_fetch] if asks_for_fetch else [], id=name_of(commands))


@pytest.mark.parametrize("commands", map(marked, sections()))
def test_a_section_can_be_followed(commands: list[Command], house: House) -> None:
    walk(house, commands)


def with_cameras() -> list[Command]:
    return [command for command in all_commands() if "task.cameras" in command.words]


@pytest.mark.parametrize("command", with_cameras(), ids=str)
def test_a_run_with_cameras(command: Command, house: House, renderer: None) -> None:
    walk(house, [command])


@pytest.mark.gpu
def test_a_run_on_a_gpu(house: House) -> None:
    walk(house, [command for command in all_commands() if command.page == "docs/how-to/gpu.md"][1:])


def test_a_run_that_was_stopped_goes_on(house: House) -> None:
    first, again, refused = [c for c in all_commands() if c.page == STOPPED and c.words.startswith(SLOW)]
    process = house.start(first.text, house.folder / "first.log")
    wait_for(house.folder / "runs" / "my-run" / "config.yaml", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 128 + signal.SIGINT
    walk(house, [again])
    done = house.run(refused.text)
    assert done.returncode == 2 and "my-run" in done.stdout, done.stdout


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline_s = time.monotonic() + TIMEOUT_S
    while not path.exists():
        assert process.poll() is None and time.monotonic() < deadline_s, path
        time.sleep(0.2)


@pytest.mark.parametrize("heading", ["Through an SSH tunnel", "Directly, with keys"])
def test_an_actor_on_another_host(heading: str, house: House, tmp_path: Path) -> None:
    """Two copies in one network namespace: the tunnel's ends and `learner-host` are the same host there.
    tests/system/test_ssh_tunnel.py tries the tunnel, tests/system/test_remote_actor.py two hosts."""
    actors = play_two_hosts(heading, house, tmp_path)
    assert len(actors) == 2, f"the remote actor has no episode in the replay: {actors}"


def test_four_actors_on_another_host(house: House, tmp_path: Path) -> None:
    actors = play_two_hosts("Several actors on one host", house, tmp_path)
    assert {f"box-{number}" for number in range(1, 5)} < actors


def play_two_hosts(heading: str, house: House, tmp_path: Path) -> set[str]:
    """Run a section; returns the ids of the actors that have episodes in the replay of `my-run`."""
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    other = House(tmp_path / "there" / "residual-rl")
    for each in (house, other):
        each.set_defaults("wire", experience_port=5588, weights_port=5589)
    house.set_defaults("learner", total_frames=20_000)
    commands = [c for c in all_commands() if c.page == TWO_HOSTS and c.heading == heading]
    if not any("name=my-run" in command.words for command in commands):
        commands = [
            Command(TWO_HOSTS, heading, "bash launch/start.sh name=my-run # the learner's host"),
            *commands,
        ]
    script = "\n".join(on_its_host(command, house, other) for command in commands)
    finished = namespace(script + "\nwait", tmp_path, house)
    assert finished.returncode == 0, finished.stdout[-4000:]
    origin = json.loads((house.folder / "runs/my-run/replay/meta/residual_rl.json").read_text())
    return set(origin["actors"])


def on_its_host(command: Command, house: House, other: House) -> str:
    """The command where its comment says; what goes on until the run's end, in the background."""
    folder = house.folder if "learner's host" in command.comment else other.folder
    endless = command.words.startswith(("bash launch/start.sh", "bash launch/actor.sh"))
    line = f"cd {shlex.quote(str(folder))}; export PYTHONPATH=$PWD; {command.text}"
    return f"({line}\n){' &' if endless else ' || exit 1'}"


def namespace(script: str, folder: Path, house: House) -> subprocess.CompletedProcess[str]:
    """Run a script in namespaces of its own, where `learner-host` is this host and scp copies a file."""
    (folder / "hosts").write_text("127.0.0.1 localhost learner-host\n")
    (folder / "script").write_text(script)
    stand_ins = folder / "stand-ins"
    stand_ins.mkdir()
    (stand_ins / "ssh").write_text("#!/bin/sh\n")
    (stand_ins / "scp").write_text(SCP.format(home=house.folder.parent))
    for stand_in in stand_ins.iterdir():
        stand_in.chmod(0o755)
    inside = f"ip link set lo up; mount --bind {folder}/hosts /etc/hosts; exec bash {folder}/script"
    environment = house.environment()
    environment["PATH"] = f"{stand_ins}{os.pathsep}{environment['PATH']}"
    words = ["unshare", "-Urnmpf", "--kill-child", "--mount-proc", "sh", "-c", inside]
    return subprocess.run(
        words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, timeout=TIMEOUT_S,
    )  # fmt: skip
