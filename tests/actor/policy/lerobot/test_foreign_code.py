"""Code that comes with a policy or an encoder does not run unasked."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from lerobot.policies.act.configuration_act import ACTConfig

from actor.policy.contract import CheckpointError
from actor.policy.lerobot.foreign_code import TRUST, refuse_foreign_code
from actor.policy.lerobot.saved import load_processors

ENCODER = """
import sys
from pathlib import Path
from actor.policy.lerobot.classifier import make_model
make_model(("top",), (32, 32), sys.argv[1], "cpu")
"""


def test_a_step_of_a_processor_is_no_other_class(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    step = {"class": "subprocess.Popen", "config": {"args": ["touch", f"{ran}"]}}
    for name in ("preprocessor", "postprocessor"):
        content = {"name": f"policy_{name}", "steps": [step]}
        (tmp_path / f"policy_{name}.json").write_text(json.dumps(content))
    refuse_foreign_code()
    with pytest.raises(CheckpointError, match="subprocess.Popen is no step of a processor"):
        load_processors(ACTConfig(device="cpu"), f"{tmp_path}", "cpu", {})
    assert not ran.exists()


@pytest.mark.slow
def test_an_encoders_code_runs_only_where_the_environment_says_so(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HOME", f"{tmp_path / 'hub'}")
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    names = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
    (encoder / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": names}))
    (encoder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    def load() -> str:
        command = [sys.executable, "-c", ENCODER, f"{encoder}"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert f"set {TRUST}=true" in load() and not (tmp_path / "ran").exists()
    monkeypatch.setenv(TRUST, "true")
    load()
    assert (tmp_path / "ran").exists()
