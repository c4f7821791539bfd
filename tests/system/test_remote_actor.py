"""Laws of launch.run.remote_actor: an actor on another host, played in a second network namespace."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from config.process import UsageError
from launch.run.remote_actor import make_overrides
from tests.support.namespaces import THERE, enter, refusal


def test_the_address_becomes_overrides_and_the_rest_goes_on() -> None:
    overrides = make_overrides(
        ["learner=tcp://10.0.0.7:6000", "keys=/there/keys", "task=pick_cube", "actor.num_envs=2"], "gpu 3"
    )
    assert overrides[:6] == [
        "wire.host=10.0.0.7", "wire.experience_port=6000", "wire.weights_port=6001",
        "wire.keys_dir=/there/keys", "actor.spool=runs/spools/10.0.0.7-6000", "actor.id=actor-gpu-3",
    ]  # fmt: skip
    assert overrides[6] == "actor.count=1"
    assert overrides[7].startswith("actor.index=")
    assert overrides[8:] == ["task=pick_cube", "actor.num_envs=2"]


def test_what_is_said_wins_over_what_is_guessed() -> None:
    words = [
        "learner=tcp://h:1", "actor.id=mine", "actor.index=3", "actor.count=2", "actor.spool=null",
        "wire.weights_port=9",
    ]  # fmt: skip
    overrides = make_overrides(words, "host")
    assert overrides == ["wire.host=h", "wire.experience_port=1", *words[1:]]


def test_two_hosts_play_different_episodes() -> None:
    [one, two] = [make_overrides(["learner=tcp://h:1"], name)[-1] for name in ("host-a", "host-b")]
    assert one != two


@pytest.mark.parametrize("words", [[], ["learner=10.0.0.7:5588"], ["learner=tcp://h"], ["learner=tcp://h:x"]])
def test_no_address_is_one_clear_line(words: list[str]) -> None:
    with pytest.raises(UsageError, match="learner=tcp://HOST:PORT"):
        make_overrides(words, "host")


def play(folder: Path, repository: Path, *command: str) -> dict[str, Any]:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    child = enter("tests.system.remote_actor_child", [str(folder), str(repository), *command])
    output, _ = child.communicate(timeout=300)
    assert child.returncode == 0, output[-3000:]
    return json.loads(output.splitlines()[-1])


def assert_only_the_key_opens(result: dict[str, Any]) -> None:
    assert result["exit_code"] == 0, result["log"]
    assert result["rows"] >= 20
    [(actor_id, address)] = result["peers"]
    assert actor_id.startswith("actor-")
    assert address == THERE
    assert result["stranger_code"] != 0
    assert "wire.keys_dir" in result["stranger_says"]
    assert result["peers_at_the_end"] == 1
    assert result["turned_away"] > 0


def test_an_actor_with_a_key_works_from_another_namespace_and_one_without_does_not(
    tmp_path: Path, repository: Path
) -> None:
    result = play(tmp_path, repository, sys.executable, "-m", "launch.run.remote_actor")
    assert_only_the_key_opens(result)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_clone_with_the_actor_extra_alone_is_enough(tmp_path: Path, repository: Path) -> None:
    reason = refusal()
    if reason is not None:
        pytest.skip(reason)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(repository), str(clone)], check=True)
    subprocess.run(["bash", "launch/setup_env.sh", "actor"], cwd=clone, check=True)
    absent = "import importlib.util as u, sys; sys.exit(any(map(u.find_spec, ['lerobot', 'wandb'])))"
    subprocess.run([clone / ".venv" / "bin" / "python", "-c", absent], check=True)
    result = play(tmp_path, clone, "bash", "launch/actor.sh")
    assert_only_the_key_opens(result)
