"""What a simulator answers, in a process of its own."""

import subprocess

import pytest

from config.asked import ask_simulator
from config.compose import compose_config
from config.section import ConfigError


@pytest.mark.parametrize("printed", ["", "bye\n", '[{"agent.qpos":9},8]\nbye\n', "[[9],8]\n", '[{"a":9}\n'])
def test_an_answer_that_is_none_is_one_line(printed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 0, printed, "")

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(ConfigError, match=r"the dimensions of PickCube-v1 are not known: ") as refused:
        ask_simulator(compose_config(["task.max_episode_steps=9"]).task)
    assert "\n" not in str(refused.value)
