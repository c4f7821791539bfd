"""Names of what lies elsewhere: fetched once, named by digest, refused in one line."""

from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from config.compose import compose_config
from config.process import UsageError
from launch.cli.group import cli
from launch.cli.verb import ResidualPath, SourcePath, Words
from launch.evaluation.subject import find_subject
from launch.share.elsewhere import local_copy, with_local_copies
from learner.tracking import artifacts
from learner.tracking.artifacts import ArtifactError, Found
from tests.support.fake_hub import FakeHub


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "residual-rl" / "elsewhere"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub()
    for kind, name, commit in (("model", "me/base", "c0ffee"), ("dataset", "me/demos", "abcdef")):
        folder = tmp_path / "hub" / name
        folder.mkdir(parents=True)
        (folder / "file.txt").write_text(name)
        fake.repositories[kind, name] = (folder, commit)
    monkeypatch.setattr(huggingface_hub, "HfApi", fake)
    return fake


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were asked for; the artifact has a digest and a residual."""
    asked: list[str] = []

    def download(folder: Path) -> None:
        (folder / "residual.safetensors").write_text("weights")

    def find(name: str) -> Found:
        asked.append(name)
        if "missing" in name:
            raise ArtifactError("no such artifact")
        return Found("d16e57", download)

    monkeypatch.setattr(artifacts, "find", find)
    return asked


def test_a_repository_is_fetched_once_and_named_by_its_commit(hub: FakeHub, cache: Path) -> None:
    first, second = local_copy("hf:me/base@v1"), local_copy("hf:me/base@v1")
    assert first == second == cache / "hf" / "me" / "base" / "c0ffee"
    assert [path.name for path in first.iterdir()] == ["file.txt"]
    assert [name for name, _ in hub.calls].count("snapshot_download") == 1
    assert hub.calls[0][1]["revision"] == "v1"


def test_a_name_without_a_kind_is_a_model_else_a_dataset(hub: FakeHub, cache: Path) -> None:
    assert local_copy("hf:me/demos") == local_copy("hf:datasets/me/demos") == cache / "hf/me/demos/abcdef"


def test_an_artifact_is_named_by_its_digest(wandb: list[str], cache: Path) -> None:
    assert (
        local_copy("wandb:me/project/pick_cube-residual:best")
        == cache / "wandb/me/project/pick_cube-residual/d16e57"
    )
    assert wandb == ["me/project/pick_cube-residual:best"]


def test_the_configuration_has_the_copy(hub: FakeHub, cache: Path) -> None:
    words = ["base.path=hf:me/base", "learner.demos=[a.h5,hf:me/demos]", "name=hf"]
    config = compose_config([Words().convert(word, None, None) for word in words])
    assert config.base.path == str(cache / "hf/me/base/c0ffee")
    assert config.learner.demos == ("a.h5", str(cache / "hf/me/demos/abcdef"))


def test_paths_of_the_command_line_may_lie_elsewhere(hub: FakeHub, wandb: list[str], cache: Path) -> None:
    assert SourcePath().convert("hf:me/demos", None, None) == cache / "hf/me/demos/abcdef"
    residual = ResidualPath(exists=True).convert("wandb:me/project/thing:best", None, None)
    assert residual == cache / "wandb/me/project/thing/d16e57/residual.safetensors"


def test_nothing_is_fetched_while_a_shell_completes(hub: FakeHub, wandb: list[str]) -> None:
    for line in (["run", "base.path=hf:me/base"], ["evaluate", "--residual", "wandb:me/project/thing:best"]):
        assert ShellComplete(cli, {}, "residual-rl", "").get_completions([*line, "task=x"], "task=")
    assert hub.calls == [] and wandb == []


def test_a_residual_elsewhere_is_not_evaluated_without_a_run(hub: FakeHub, wandb: list[str]) -> None:
    name = "wandb:me/project/thing:best"
    with pytest.raises(
        UsageError, match=f"{name} is a residual: name a run of its task, and --residual {name}"
    ):
        find_subject(name, [], None, base_alone=False)


def test_other_words_stay_as_they_are() -> None:
    for word in ("base.path=/data/hf:x", "name=wandb-run", "shf:me/x", "learner.demos=[a,b]"):
        assert with_local_copies(word) == word


REFUSED: dict[str, tuple[str, Callable[[], object]]] = {
    "no artifact": ("no such artifact", lambda: local_copy("wandb:me/project/missing:best")),
    "no repository": ("no model or dataset of that name", lambda: local_copy("hf:me/nothing")),
    "no alias": ("is no name", lambda: local_copy("wandb:me/project/thing")),
    "no owner": ("is no name", lambda: local_copy("hf:thing")),
    "another kind": ("is of another kind", lambda: ResidualPath().convert("hf:me/base", None, None)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_had_is_one_line(case: str, hub: FakeHub, wandb: list[str]) -> None:
    said, ask = REFUSED[case]
    with pytest.raises(UsageError, match=said) as refused:
        ask()
    assert "\n" not in str(refused.value) and refused.value.args[0].startswith(("hf:", "wandb:"))


def test_a_fetch_that_breaks_leaves_nothing(
    hub: FakeHub, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(repo: str, *, local_dir: Path, **_: object) -> None:
        (local_dir / "part").write_text("half")
        raise OSError("the line went dead")

    monkeypatch.setattr(hub, "snapshot_download", torn)
    with pytest.raises(UsageError, match="the line went dead"):
        local_copy("hf:me/base")
    assert [*(cache / "hf" / "me" / "base").iterdir()] == []


def test_what_a_killed_fetch_has_left_goes_with_the_next_one(hub: FakeHub, cache: Path) -> None:
    folder = cache / "hf" / "me" / "base"
    (folder / ".c0ffee.new" / "whole").mkdir(parents=True)
    (folder / ".c0ffee.new" / "whole" / "part").write_text("half")
    assert [path.name for path in local_copy("hf:me/base").iterdir()] == ["file.txt"]
    assert [path.name for path in folder.iterdir()] == ["c0ffee"]


def test_copies_that_cannot_be_kept_are_one_line(
    hub: FakeHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UsageError, match="^hf:me/base cannot be fetched: .*set XDG_CACHE_HOME"):
        local_copy("hf:me/base")


def test_a_verb_says_it_too(hub: FakeHub) -> None:
    result = CliRunner().invoke(cli, ["evaluate", "base.path=hf:me/nothing"])
    assert isinstance(result.exception, UsageError)
