"""Who starts the processes of a learner, and what is refused before one starts."""

import subprocess
import sys

import pytest
import torch

from config.process import UsageError
from learner.ranks.ranks import Ranks
from learner.ranks.start import joined_ranks


@pytest.fixture(autouse=True)
def nobody_launched(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ACCELERATE_MIXED_PRECISION", "TORCHELASTIC_RUN_ID", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)


def test_one_process_imports_nothing_of_accelerate() -> None:
    program = (
        "import sys; from learner.ranks.start import joined_ranks\n"
        "with joined_ranks(1, 'cpu', 1, section='') as ranks: print(ranks.size, 'accelerate' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert said.split() == ["1", "False"]


def test_a_cluster_that_names_its_processes_launches_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with joined_ranks(1, "cpu", 1, section="learner.") as ranks:
        assert type(ranks) is Ranks


@pytest.mark.parametrize(
    ("device", "why"),
    [
        ("cuda:1", r"learner\.processes=64 cannot share learner\.device=cuda:1: give cuda, or cpu"),
        ("cuda", r"learner\.processes=64 wants as many GPUs, this host has \d+"),
    ],
)
def test_gpus_that_are_not_there_are_refused_before_a_process_starts(device: str, why: str) -> None:
    assert torch.cuda.device_count() < 64
    with pytest.raises(UsageError, match=why), joined_ranks(64, device, 1, section="learner."):
        pass


def test_a_number_of_processes_beside_that_of_accelerate_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with (
        pytest.raises(UsageError, match="processes=3, but 2 processes were launched: leave it out"),
        joined_ranks(3, "cpu", 1, section=""),
    ):
        pass
