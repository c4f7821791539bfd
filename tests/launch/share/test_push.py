"""What is pushed: by dry run, and against a stand-in for the Hub's client."""

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from click.testing import CliRunner, Result
from huggingface_hub import DatasetCard, ModelCard, RepoCard

from actor.policy.behaviour_transformer.checkpoint import load_transformer
from actor.policy.checkpoint_file import read_checkpoint
from actor.policy.diffusion.checkpoint import load_agent
from config.compose import compose_config, write_config
from config.process import UsageError
from launch.cli.group import cli
from launch.share.cards import policy_card
from launch.share.run_source import Shared
from launch.share.run_source import shared_run as source_of
from learner.checkpoints.shared import write_base, write_residual
from learner.replay.tools.verify import verify
from tests.support.behaviour_transformer import save_transformer
from tests.support.fake_hub import FakeHub
from tests.support.helpers import make_config
from tests.support.run_folder import write_replay
from tests.support.shared_runs import RELATIONS, TASK, diffusion_base, shared_run

TOKEN = "hf_madeUpTokenOfATest0123456789"
SUMMARY = {
    "base_success": 0.4,
    "final_success": 0.9,
    "evaluation_episodes": 100,
    "frames": 40000,
    "episodes": 500,
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)  # no .env file
    monkeypatch.delenv("HF_TOKEN", raising=False)
    folder = tmp_path / "runs" / "one"
    shared_run(folder, f"base.path={diffusion_base(tmp_path / 'base')}", "algo.residual_dims=null", RELATIONS)
    (folder / "summary.json").write_text(json.dumps(SUMMARY))
    return folder


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    monkeypatch.setattr(RepoCard, "validate", lambda self, repo_type: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    return fake


def pushed(run: Path, what: str, *options: str) -> Result:
    words = [str(run), "--what", what, "--to", "me/thing", *options]
    return CliRunner().invoke(cli, ["push", *words], catch_exceptions=False)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_policy_is_what_lerobot_loads_and_the_residual_for_this_project(run: Path) -> None:
    assert pushed(run, "policy", "--dry-run").exit_code == 0
    folder = run / "push" / "policy"
    assert files(folder) == {
        "README.md", "config.json", "model.safetensors", "policy_postprocessor.json",
        "policy_preprocessor.json", "residual.json", "residual.safetensors", "training.yaml",
    }  # fmt: skip
    ours, theirs = (
        read_checkpoint(path)
        for path in (run / "checkpoints/best.safetensors", folder / "residual.safetensors")
    )
    assert ours.keys() == theirs.keys()
    assert {name: theirs[name] for name in ("version", "success", "episodes")} == {
        "version": 3, "success": 0.75, "episodes": 20,
    }  # fmt: skip
    assert all(torch.equal(ours["actor"][name], value) for name, value in theirs["actor"].items())


def test_the_cards_metadata_and_results_are_those_of_the_run(run: Path) -> None:
    pushed(run, "policy", "--dry-run", "--license", "mit")
    card = ModelCard.load(run / "push" / "policy" / "README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "mit",
        "lerobot",
        "robotics",
    )
    [result] = card.data.eval_results
    assert (result.metric_type, result.metric_value, result.dataset_type) == (
        "success_rate",
        75.0,
        "PickCube-v1",
    )
    assert "| base | 40 % of 100 episodes (95 % interval 31 to 50 %) |" in card.text
    assert "| frames | 40,000 |" in card.text and "hf:me/thing" in card.text


def test_a_base_comes_back_as_it_was_without_unpickling(run: Path, tmp_path: Path) -> None:
    pushed(run, "base", "--dry-run")
    folder = run / "push" / "base"
    assert files(folder) == {
        "README.md", "args.json", "checkpoints/best.json", "checkpoints/best.safetensors", "training.yaml",
    }  # fmt: skip
    ours, theirs = load_agent(tmp_path / "base").state_dict(), load_agent(folder).state_dict()
    assert (
        all(torch.equal(ours[name], value) for name, value in theirs.items()) and ours.keys() == theirs.keys()
    )


def test_so_does_a_behaviour_transformer(tmp_path: Path) -> None:
    path, weights = save_transformer(tmp_path / "base")
    write_base(tmp_path / "out", make_config("base=behaviour_transformer", path))
    theirs = load_transformer(tmp_path / "out").state_dict()
    assert theirs.keys() == weights.keys()
    assert all(torch.equal(weights[name], value) for name, value in theirs.items())


def test_the_prior_data_of_the_default_recipe_goes_with_a_base(run: Path, tmp_path: Path) -> None:
    (tmp_path / "base" / "demos.h5").write_bytes(b"demonstrations")
    pushed(run, "base", "--dry-run")
    assert (run / "push" / "base" / "demos.h5").read_bytes() == b"demonstrations"


@pytest.fixture
def tuned(tmp_path: Path, run: Path) -> Path:
    """The folder of a run that trained its base."""
    folder, words = (
        tmp_path / "runs" / "tuned",
        ["algo=sft", "learner.demos=d.h5", f"base.path={tmp_path}/base"],
    )
    bases = folder / "checkpoints" / "bases"
    diffusion_base(bases / "v7")
    (bases / "best").symlink_to("v7")
    write_config(
        folder / "config.yaml", compose_config([f"runs_dir={folder.parent}", "name=tuned", *TASK, *words])
    )
    (folder / "summary.json").write_text(json.dumps(SUMMARY | {"best_success": 0.8, "best_episodes": 50}))
    return folder


def test_of_a_run_that_trained_its_base_the_trained_one_is_pushed(tuned: Path) -> None:
    assert pushed(tuned, "base", "--dry-run").exit_code == 0
    folder = tuned / "push" / "base"
    theirs, trained = load_agent(folder).state_dict(), load_agent(tuned / "checkpoints/bases/v7").state_dict()
    assert all(torch.equal(trained[name], value) for name, value in theirs.items())
    card = ModelCard.load(folder / "README.md").text
    assert "trained base, the evaluation that chose these weights | 80 % of 50 episodes" in card


def test_only_a_policy_needs_a_residual(tuned: Path) -> None:
    write_replay(tuned / "replay", "tuned", {"actor-0": [3]})
    (tuned / "report.html").write_text("<p>hello</p>")
    assert (
        pushed(tuned, "replay", "--dry-run").exit_code == pushed(tuned, "report", "--dry-run").exit_code == 0
    )
    with pytest.raises(UsageError, match=r"trained no residual \(algo=sft\): push --what base, replay"):
        pushed(tuned, "policy", "--dry-run")


def test_a_card_says_who_judges_and_how_lerobot_simulates_the_task(run: Path) -> None:
    words = ["task=peg_insertion_side", "base=zero", "learner.demos=null", "algo.prior_fraction=0"]
    config = compose_config([*words, "task.success=classifier:/home/me/rewards/peg", "name=one"])
    (run / "summary.json").write_text(json.dumps(SUMMARY | {"final_true_success": 0.6}))
    shared = Shared(run, config, "best")
    card = policy_card(shared, "me/thing", "mit")
    assert "| base and residual at the end of the run | 90 % of 100 episodes" in card
    assert "interval 83 to 94 %): a classifier says it |" in card and "as a classifier says" in card
    assert "| the same in truth, as the simulator says | 60 % of 100 episodes" in card
    assert "--env.control_mode=pd_ee_delta_pose --env.max_episode_steps=300" in card
    assert "--env.robot_state_dim=18" in card and "--env.reconfigure=true" in card
    write_residual(run / "shared", config, shared.residual.content)
    assert "success: classifier:peg\n" in (run / "shared" / "training.yaml").read_text()


def test_a_card_names_the_simulator_and_lerobots_words_are_for_maniskill_alone(run: Path) -> None:
    config = compose_config(["task=fetch_push", "base=zero", "learner.demos=null", "algo.prior_fraction=0"])
    card = policy_card(Shared(run, config, "best"), "me/thing", "mit")
    assert "| task | FetchPush-v4 (Gymnasium), scaled, at most 50 frames |" in card
    assert "FetchPush-v4 (Gymnasium)" in card and "ManiSkill" not in card and "lerobot-eval" not in card
    assert "classifier" not in card


def test_what_is_shared_has_the_runs_own_judge(tmp_path: Path) -> None:
    write_config(tmp_path / "config.yaml", compose_config(["task.success=classifier:c"]))
    assert source_of(f"{tmp_path}/", "best").config.task.success == "classifier:c"


def test_a_replay_is_a_whole_dataset_with_a_card_and_the_tag_of_its_format(run: Path, hub: FakeHub) -> None:
    write_replay(run / "replay", "one", {"actor-0": [6, 3]})
    assert pushed(run, "replay", "--private").exit_code == 0
    assert "meta/info.json" in hub.uploaded["me/thing"]
    card = DatasetCard(hub.uploaded["me/thing"]["README.md"].decode())
    assert card.data.task_categories == ["robotics"] and card.data.license == "apache-2.0"
    made, sent, tagged = hub.calls
    assert (made[1]["repo"], made[1]["repo_type"], made[1]["private"]) == ("me/thing", "dataset", True)
    assert sent[1]["repo_type"] == "dataset" and tagged == (
        "create_tag", {"repo": "me/thing", "tag": "v3.0", "repo_type": "dataset"},
    )  # fmt: skip
    pushed(run, "replay", "--dry-run")
    (run / "push" / "replay" / "README.md").unlink()
    assert verify(run / "push" / "replay") == []


def test_a_report_is_a_page_of_its_own(run: Path, hub: FakeHub) -> None:
    with pytest.raises(UsageError, match="report.html is missing"):
        pushed(run, "report")
    (run / "report.html").write_text("<p>hello</p>")
    pushed(run, "report")
    assert hub.uploaded["me/thing"]["index.html"] == b"<p>hello</p>"
    assert b"sdk: static" in hub.uploaded["me/thing"]["README.md"]
    assert hub.calls[0][1]["space_sdk"] == "static"


def test_the_token_goes_to_the_hub_alone(run: Path, hub: FakeHub, caplog: pytest.LogCaptureFixture) -> None:
    result = pushed(run, "policy")
    assert result.exit_code == 0 and hub.tokens == [TOKEN]
    written = b"".join(hub.uploaded["me/thing"].values()) + b"".join(
        path.read_bytes() for path in run.rglob("*") if path.is_file()
    )
    assert TOKEN.encode() not in written and TOKEN not in result.output + caplog.text
    assert TOKEN not in repr(hub.calls)


def test_a_token_may_come_from_a_env_file(run: Path, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "")  # so that it is restored afterwards
    monkeypatch.delenv("HF_TOKEN")
    (Path.cwd() / ".env").write_text(f"HF_TOKEN={TOKEN}\n")
    assert pushed(run, "policy").exit_code == 0 and hub.tokens == [TOKEN]


def test_what_cannot_be_pushed_is_refused_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, hub: FakeHub
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(f"403 for {TOKEN}\nmore lines")

    monkeypatch.setattr(hub, "create_repo", refuse)
    with pytest.raises(UsageError) as refused:
        pushed(run, "policy")
    assert str(refused.value) == "policy cannot be pushed to me/thing: 403 for "
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(UsageError, match="HF_TOKEN is not set"):
        pushed(run, "policy")
    assert CliRunner().invoke(cli, ["push", str(run), "--what", "policy", "--to", "thing"]).exit_code == 2
