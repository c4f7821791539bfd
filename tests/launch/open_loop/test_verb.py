"""Any policy that LeRobot knows, beside recorded actions."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from lerobot.utils.import_utils import register_third_party_plugins

from config.process import UsageError
from launch.cli.group import cli
from launch.open_loop.recorded import Dataset
from learner.replay.prior.demonstration import Demonstration
from learner.tracking import trackers
from learner.tracking.trackers import TrackerError
from tests.support import lerobot_policies
from tests.support.camera_policies import TOP, save_policy
from tests.support.lerobot_datasets import make_lerobot, write_lerobot
from tests.support.plugins import install
from tests.support.shared_runs import RELATIONS, diffusion_base, shared_run

OBSERVATION, ACTION, STATE, LENGTH = 20, 4, 8, 12


@pytest.fixture(scope="module")
def episodes() -> list[Demonstration]:
    rng = np.random.default_rng(0)
    return [
        Demonstration(
            rng.uniform(-1, 1, (LENGTH + 1, OBSERVATION)).astype(np.float32),
            rng.uniform(-1, 1, (LENGTH, ACTION)).astype(np.float32),
            np.ones(LENGTH, bool),
        )
        for _ in range(3)
    ]


@pytest.fixture(scope="module")
def dataset(episodes: list[Demonstration], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_lerobot(tmp_path_factory.mktemp("data") / "set", episodes, state=STATE)


def evaluated(policy: Path, dataset: Path, out: Path, *options: str) -> dict[str, Any]:
    result = run(policy, dataset, out, *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.output.splitlines()[-1])


def run(policy: Path, dataset: Path, out: Path, *options: str) -> Result:
    words = [str(policy), str(dataset), "--out", str(out), *options]
    return CliRunner().invoke(cli, ["evaluate-open-loop", *words], catch_exceptions=False)


@pytest.mark.parametrize("kind", ["act", "diffusion", "tdmpc", "gaussian_actor"])
def test_small_policies_of_each_kind(
    kind: str, episodes: list[Demonstration], dataset: Path, tmp_path: Path
) -> None:
    policy = lerobot_policies.save(tmp_path / kind, *lerobot_policies.make_policy(kind, episodes, STATE))
    found = evaluated(policy, dataset, tmp_path / "out", "--episodes", "2")
    assert found["type"] == kind and found["episodes"] == 2
    assert len(found["mse_by_dimension"]) == ACTION and found["mse"] > 0
    assert found == json.loads((tmp_path / "out" / "open_loop.json").read_text())
    assert {path.name for path in (tmp_path / "out").glob("*.png")} == {"episode-0.png", "episode-1.png"}


@pytest.mark.parametrize("kind", ["act", "vqbet"])
def test_policies_that_look_at_pictures(kind: str, tmp_path: Path) -> None:
    data = make_lerobot(tmp_path / "data", lengths=(5, 6), pictures="image")
    policy, *_ = save_policy(tmp_path / kind, kind, (TOP,), state=4, size=(32, 48), actions=2)
    found = evaluated(policy, data, tmp_path / "out", "--horizon", "2")
    assert (found["type"], found["plans"], len(found["mse_by_step"])) == (kind, 6, 2)


def test_a_policy_that_recorded_itself_has_no_error(dataset: Path, tmp_path: Path) -> None:
    """The plugin of the tests says a tenth of the state; the actions were recorded with it."""
    site = tmp_path / "site"
    site.mkdir()
    lerobot_policies.install_plugin(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

        register_third_party_plugins()
        from lerobot.configs.types import FeatureType, PolicyFeature

        config = make_policy_config(
            "tenth", device="cpu", chunk_size=1,
            input_features={"observation.state": PolicyFeature(FeatureType.STATE, (STATE,))},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (ACTION,))},
        )  # fmt: skip
        made = get_policy_class("tenth")(config)
        lerobot_policies.save(tmp_path / "policy", made, *make_pre_post_processors(config))
        rng = np.random.default_rng(1)
        observations = rng.uniform(-1, 1, (LENGTH + 1, OBSERVATION)).astype(np.float32)
        actions = np.float32(0.1) * observations[:-1, :ACTION]
        own = write_lerobot(
            tmp_path / "own", [Demonstration(observations, actions, np.ones(LENGTH, bool))], state=STATE
        )
        found = evaluated(tmp_path / "policy", own, tmp_path / "out")
    assert found["mse"] < 1e-12 and found["plans"] == LENGTH


def test_a_policy_of_a_run(dataset: Path, tmp_path: Path) -> None:
    base = diffusion_base(tmp_path / "base")
    shared_run(tmp_path / "run", f"base.path={base}", "algo.residual_dims=null", RELATIONS)
    words = [str(tmp_path / "run"), str(tmp_path / "policy"), "--to", "lerobot"]
    assert CliRunner().invoke(cli, ["export", *words], catch_exceptions=False).exit_code == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(install(tmp_path / "site", "lerobot_policy_residual_rl"))
        found = evaluated(tmp_path / "policy", dataset, tmp_path / "out", "--episodes", "1", "--every", "3")
    assert (found["type"], found["horizon"], found["plans"]) == ("residual_rl", 4, LENGTH // 3)


def test_what_does_not_fit_is_refused(dataset: Path, tmp_path: Path, episodes: list[Demonstration]) -> None:
    policy = lerobot_policies.save(
        tmp_path / "act", *lerobot_policies.make_policy("act", episodes, STATE + 1)
    )
    with pytest.raises(UsageError, match=r"takes observation.state of shape \[9\]"):
        run(policy, dataset, tmp_path / "out")
    with pytest.raises(UsageError, match="meta/info.json is missing"):
        run(policy, tmp_path, tmp_path / "out")
    with pytest.raises(UsageError, match="config.json is missing"):
        run(dataset, dataset, tmp_path / "out")


def test_recorded_values_that_are_not_finite_are_one_line(
    episodes: list[Demonstration], tmp_path: Path
) -> None:
    actions = episodes[0].actions.copy()
    actions[3, 1] = np.nan
    spoiled = Demonstration(episodes[0].observations, actions, episodes[0].success)
    data = Dataset(f"{write_lerobot(tmp_path / 'set', [spoiled], state=STATE)}")
    with pytest.raises(UsageError, match="episode 0, frame 3: action is not finite"):
        [*data.read((), (), 1)]


def test_a_tracker_that_is_missing_is_said_before_anything_is_evaluated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda _: None)
    with pytest.raises(TrackerError, match="tracking asks for trackio, which is not installed"):
        run(tmp_path / "no-policy", tmp_path / "no-data", tmp_path / "out", "--tracking", "trackio")
