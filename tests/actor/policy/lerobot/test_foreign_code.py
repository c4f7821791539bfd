"""Code that comes with a policy or an encoder does not run unasked."""

import json
import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest
from lerobot.policies.act.configuration_act import ACTConfig
from lerobot.processor.pipeline import DataProcessorPipeline

from actor.policy.contract import CheckpointError
from actor.policy.lerobot.foreign_code import guarded
from actor.policy.lerobot.saved import load_processors
from config.trust import trusting

ENCODER = """
import sys
from actor.policy.lerobot.classifier import make_model
from config.trust import trusting
with trusting(sys.argv[2] == "true"):
    make_model(("top",), (32, 32), sys.argv[1], "cpu")
"""


def test_a_step_of_a_processor_is_no_other_class(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    step = {"class": "subprocess.Popen", "config": {"args": ["touch", f"{ran}"]}}
    for name in ("preprocessor", "postprocessor"):
        content = {"name": f"policy_{name}", "steps": [step]}
        (tmp_path / f"policy_{name}.json").write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match="subprocess.Popen is no step of a processor"):
        load_processors(ACTConfig(device="cpu"), f"{tmp_path}", "cpu", {})
    assert not ran.exists()


def test_code_is_fetched_only_in_a_trusting_load_and_others_loads_stay_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = ("transformers", "transformers.dynamic_module_utils")
    package, modules = (ModuleType(name) for name in names)
    package.__spec__ = ModuleSpec("transformers", None)
    modules.get_cached_module_file = fetch = lambda source, file: f"{source}/{file}"
    for name, module in zip(names, (package, modules), strict=True):
        monkeypatch.setitem(sys.modules, name, module)
    before = vars(DataProcessorPipeline)["_resolve_step_class"]
    with guarded(), pytest.raises(CheckpointError, match=r"theirs brings code of its own \(model.py\)"):
        modules.get_cached_module_file("theirs", "model.py")
    with trusting(True), guarded():
        assert modules.get_cached_module_file("theirs", "model.py") == "theirs/model.py"
    assert modules.get_cached_module_file is fetch
    assert vars(DataProcessorPipeline)["_resolve_step_class"] is before


@pytest.mark.slow
def test_an_encoders_code_runs_only_where_somebody_says_so(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.setenv("HF_HOME", f"{tmp_path / 'hub'}")
    encoder = tmp_path / "encoder"
    encoder.mkdir()
    names = {"AutoConfig": "theirs.Config", "AutoModel": "theirs.Model"}
    (encoder / "config.json").write_text(json.dumps({"model_type": "theirs", "auto_map": names}))
    (encoder / "theirs.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")

    def load(trusted: str) -> str:
        command = [sys.executable, "-c", ENCODER, f"{encoder}", trusted]
        return subprocess.run(command, capture_output=True, text=True, check=False).stderr

    assert "add trust_remote_code=true" in load("false") and not (tmp_path / "ran").exists()
    load("true")
    assert (tmp_path / "ran").exists()
