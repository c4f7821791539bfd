"""Residual checkpoints in Policy Decorator's online layout, read by networks written as published."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from actor.evaluate_base import make_policy
from actor.policy.checkpoint_file import read_checkpoint, write_safetensors
from actor.policy.contract import CheckpointError
from config.process import UsageError
from learner.algorithms.residual_sac import ResidualSAC
from learner.checkpoints.files import save_checkpoint
from learner.checkpoints.policy_decorator import (
    LayoutError,
    export_checkpoint,
    export_file,
    import_checkpoint,
    import_file,
)
from tests.support.helpers import make_config

OBSERVATION, ACTION, FRAMES = 11, 3, 4
NUMBERS = ACTION * FRAMES


class PublishedCritic(nn.Module):
    def __init__(self, features: int) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(OBSERVATION + features, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(),
            nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 1),
        )  # fmt: skip

    def forward(self, observation: Tensor, action: Tensor) -> Tensor:
        return self.net(torch.cat([observation, action], 1))


class PublishedActor(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(inputs, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU()
        )
        self.fc_mean, self.fc_logstd = nn.Linear(256, NUMBERS), nn.Linear(256, NUMBERS)
        self.register_buffer("action_scale", torch.ones(NUMBERS))
        self.register_buffer("action_bias", torch.zeros(NUMBERS))

    def mode(self, x: Tensor) -> Tensor:
        return torch.tanh(self.fc_mean(self.backbone(x))) * self.action_scale + self.action_bias

    def log_std(self, x: Tensor) -> Tensor:
        return -20 + 11 * (torch.tanh(self.fc_logstd(self.backbone(x))) + 1)


def algorithm(*overrides: str) -> tuple[ResidualSAC, object]:
    config = make_config("algo=policy_decorator", *overrides)
    made = ResidualSAC(config.algo, OBSERVATION, ACTION, seed=0, device="cpu")
    for network in (made.actor, made.critic, made.target_critic):
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    made.scale_observations(3 + 2 * torch.randn(50, OBSERVATION))
    made.log_temperature.data.fill_(-1.5)
    return made, config.algo


@pytest.mark.parametrize("critic_input", ["sum", "concat"])
@pytest.mark.parametrize("actor_input", ["obs", "obs_base_action"])
def test_networks_written_as_published_give_what_ours_give(critic_input, actor_input, tmp_path: Path) -> None:
    ours, algo = algorithm(f"algo.critic_input={critic_input}", f"algo.actor_input={actor_input}")
    saved = read_checkpoint(save_checkpoint(tmp_path, ours, 3, algo))
    theirs = export_checkpoint(saved)
    assert set(theirs) == {"res_actor", "qf1", "qf2", "log_sac_alpha"}
    actor = PublishedActor(OBSERVATION + (NUMBERS if actor_input == "obs_base_action" else 0))
    actor.load_state_dict(theirs["res_actor"], strict=True)
    observation, base, residual = torch.randn(5, OBSERVATION), torch.rand(5, NUMBERS), torch.rand(5, NUMBERS)
    seen = observation if actor_input == "obs" else torch.cat([observation, base], 1)
    torch.testing.assert_close(actor.mode(seen), ours.actor.mode(observation, base), atol=1e-5, rtol=0)
    log_std = ours.actor(observation, base)[1]
    torch.testing.assert_close(actor.log_std(seen), log_std, atol=1e-4, rtol=1e-5)
    action = {"sum": base + 0.1 * residual, "concat": torch.cat([residual, base], 1)}
    expected = ours.target_critic(observation, ours._action_features(base, residual))
    for name, member in (("qf1", 0), ("qf2", 1)):
        critic = PublishedCritic(action[critic_input].shape[1])
        critic.load_state_dict(theirs[name], strict=True)
        value = critic(observation, action[critic_input])[:, 0]
        torch.testing.assert_close(value, expected[member], atol=1e-5, rtol=1e-5)
    assert theirs["log_sac_alpha"].tolist() == [-1.5]


@pytest.mark.parametrize("critic_input", ["sum", "concat"])
def test_there_and_back_nothing_changes(critic_input: str, tmp_path: Path) -> None:
    ours, algo = algorithm(f"algo.critic_input={critic_input}")
    theirs = export_checkpoint(read_checkpoint(save_checkpoint(tmp_path, ours, 3, algo)))
    again, _ = algorithm(f"algo.critic_input={critic_input}")
    back = import_checkpoint(theirs, algo)
    again.actor.load_state_dict(back["actor"], strict=True)
    again.critic.load_state_dict(back["critic"], strict=True)
    again.target_critic.load_state_dict(back["target_critic"], strict=True)
    repeated = export_checkpoint(back)
    for part in ("res_actor", "qf1", "qf2"):
        for name, value in theirs[part].items():
            assert torch.equal(repeated[part][name], value), name


def test_a_json_file_that_is_no_checkpoints_is_not_replaced(tmp_path: Path) -> None:
    ours, algo = algorithm()
    theirs = tmp_path / "published.pt"
    export_file(save_checkpoint(tmp_path, ours, 3, algo), theirs)
    (tmp_path / "args.json").write_text("{}")
    with pytest.raises(LayoutError, match=r"args\.json beside it would be replaced"):
        import_file(theirs, tmp_path / "args.safetensors", make_config("algo=policy_decorator").algo)
    assert (tmp_path / "args.json").read_text() == "{}"


def test_the_command_goes_both_ways(tmp_path: Path) -> None:
    ours, algo = algorithm()
    mine = save_checkpoint(tmp_path, ours, 3, algo)
    theirs, back = tmp_path / "published.pt", tmp_path / "back" / "newest.safetensors"
    export_file(mine, theirs)
    import_file(theirs, back, make_config("algo=policy_decorator").algo)
    assert read_checkpoint(back)["actor"]["head.weight"].shape == (2 * NUMBERS, 256)


def test_an_imported_residual_plays_on_its_base_as_the_exported_one_does(tmp_path: Path) -> None:
    words = ["algo=policy_decorator", "base=zero", "task.env_id=Mine-v1"]
    base = SimpleNamespace(
        obs_horizon=1, act_horizon=4, observation_dim=OBSERVATION, action_dim=ACTION, cameras=(),
        plan=lambda history, keys, images: history[:, -1, :1, None].expand(-1, 4, ACTION) / 10,
    )  # fmt: skip
    ours, algo = algorithm()
    mine = save_checkpoint(tmp_path, ours, 3, algo)
    theirs, back = tmp_path / "out.pt", tmp_path / "back.safetensors"
    export_file(mine, theirs)
    import_file(theirs, back, make_config("algo=policy_decorator").algo)
    observation = torch.randn(5, OBSERVATION)
    plan = base.plan(observation[:, None], None, {})
    residual = ours.actor.mode(observation, plan.flatten(1)).view_as(plan)
    config = make_config(*words)
    for place in (mine, back):
        policy = make_policy(config, base, place, 5)
        policy.begin(observation)
        played = torch.stack([policy.act().action for _ in range(4)], 1)
        wanted = (plan + config.algo.residual_scale * residual).clamp(-1, 1)
        torch.testing.assert_close(played, wanted, atol=1e-5, rtol=0)
    for place, says in ((theirs, "does not fit this algo"), (tmp_path / "none.pt", "is missing")):
        with pytest.raises(CheckpointError, match=says) as refused:
            make_policy(config, base, place, 5)
        assert "\n" not in str(refused.value)


def test_the_published_rgbd_residual_sees_the_bases_features_in_the_place_of_a_state(tmp_path: Path) -> None:
    """Of pi_dec_diffusion_maniskill2_rgbd.py: the same networks, over the base's embedding."""
    config, width = make_config("algo=policy_decorator", "algo.sees=[features]"), 7
    ours = ResidualSAC(config.algo, OBSERVATION, ACTION, seed=0, device="cpu", features_dim=width)
    for network in (ours.actor, ours.target_critic):
        for parameter in network.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
    place = save_checkpoint(tmp_path, ours, 3, config.algo)
    theirs = export_checkpoint(read_checkpoint(place))
    assert theirs["res_actor"]["backbone.0.weight"].shape == (256, width)
    actor = PublishedActor(width)
    actor.load_state_dict(theirs["res_actor"], strict=True)
    features, base = torch.randn(5, width), torch.rand(5, NUMBERS)
    torch.testing.assert_close(actor.mode(features), ours.actor.mode(features, base), atol=1e-5, rtol=0)
    back = import_checkpoint(theirs, config.algo)
    for name, values in ours.actor.state_dict().items():
        torch.testing.assert_close(back["actor"][name], values)
    for name, values in ours.target_critic.state_dict().items():
        torch.testing.assert_close(back["target_critic"][name], values)
    with pytest.raises(LayoutError, match=r"has only algo\.critics_see=\[features\], this is \('state',\)"):
        import_checkpoint(
            theirs,
            make_config("algo=policy_decorator", "algo.sees=[features]", "algo.critics_see=[state]").algo,
        )


def test_networks_that_the_layout_does_not_know_are_refused_by_their_key(tmp_path: Path) -> None:
    config = make_config()
    ours = ResidualSAC(config.algo, OBSERVATION, ACTION, seed=0, device="cpu")
    place = save_checkpoint(tmp_path, ours, 1, config.algo)
    with pytest.raises(
        LayoutError, match=r"newest\.safetensors: .* only algo\.head=gaussian, this is deterministic"
    ):
        export_file(place, tmp_path / "out.pt")
    assert not (tmp_path / "out.pt").exists()
    for words in (("algo.sees=[proprioception]",), ("algo.critics_see=[proprioception]",)):
        config = make_config("algo=policy_decorator", "algo.proprioception=[[0,3]]", *words)
        seeing = ResidualSAC(config.algo, OBSERVATION, ACTION, seed=0, device="cpu")
        place = save_checkpoint(tmp_path, seeing, 1, config.algo)
        says = r"has only algo\.(sees=\[state\] or \[features\]|critics_see=\[state\]), this is"
        with pytest.raises(LayoutError, match=says):
            export_file(place, tmp_path / "out.pt")
    theirs = export_checkpoint(read_checkpoint(save_checkpoint(tmp_path, *_and_version(algorithm()))))
    with pytest.raises(LayoutError, match="hidden"):
        import_checkpoint(theirs, make_config("algo=policy_decorator", "algo.hidden=[128,128,128]").algo)


def test_a_checkpoint_of_an_earlier_release_is_exported_where_the_networks_do_not_depend_on_its_keys(
    tmp_path: Path,
) -> None:
    ours, algo = algorithm()
    place = save_checkpoint(tmp_path, ours, 3, algo)
    saved = read_checkpoint(place)
    wanted = export_checkpoint(saved)
    saved["algo"] |= {"pessimism_about": "value", "actor_layer_norm": False, "scale_from": 0.5}
    del saved["algo"]["gamma"]
    saved["actor"]["reach"] = torch.ones(1)
    older = export_checkpoint(saved)
    for part in ("res_actor", "qf1", "qf2"):
        assert all(torch.equal(older[part][name], value) for name, value in wanted[part].items())
    del saved["algo"]["critic_input"]
    write_safetensors(place, saved)
    with pytest.raises(LayoutError, match=r"newest\.safetensors: .*critic_input"):
        export_file(place, tmp_path / "out.pt")


def _and_version(made):
    return made[0], 1, made[1]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda saved: None, "holds one NoneType"),
        (lambda saved: [saved], "holds one list"),
        (lambda saved: {}, "no checkpoint of a residual"),
        (lambda saved: saved | {"algo": None}, "no checkpoint of a residual"),
        (lambda saved: saved | {"log_temperature": 0.5}, "no checkpoint of a residual"),
        (lambda saved: saved | {"actor": {}}, "networks are not those of the layout"),
        (lambda saved: saved | {"actor": 3}, "actor is no state dict"),
        (lambda saved: saved | {"actor": {"head.weight": 1.5}}, "actor is no state dict"),
        (lambda saved: {**saved, "actor": spoiled(saved["actor"], "head.weight")}, "head.weight.* is nan"),
        (lambda saved: {**saved, "target_critic": {"layers.0.weight": torch.rand(2)}}, "are not those of"),
    ],
)  # fmt: skip
def test_a_checkpoint_that_cannot_be_converted_is_one_line_with_its_path(
    change, says, tmp_path: Path
) -> None:
    ours, algo = algorithm()
    place = save_checkpoint(tmp_path, ours, 3, algo)
    content, place = read_checkpoint(place), place.with_suffix(".pt")  # as earlier releases wrote it
    torch.save(change(content), place)
    with pytest.raises(UsageError, match=rf"newest\.pt.*{says}") as refused:
        export_file(place, tmp_path / "out.pt")
    assert "\n" not in str(refused.value) and not (tmp_path / "out.pt").exists()


@pytest.mark.parametrize(
    "change", [dict(qf1={}), dict(qf2=None), dict(res_actor=[]), dict(log_sac_alpha="low")]
)
def test_a_published_file_that_lacks_a_part_is_one_line_with_its_path(change, tmp_path: Path) -> None:
    ours, algo = algorithm()
    theirs = export_checkpoint(read_checkpoint(save_checkpoint(tmp_path, ours, 3, algo)))
    torch.save(theirs | change, tmp_path / "published.pt")
    with pytest.raises(UsageError, match=r"published\.pt") as refused:
        import_file(tmp_path / "published.pt", tmp_path / "out.safetensors", algo)
    assert "\n" not in str(refused.value) and not (tmp_path / "out.safetensors").exists()


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod."])
def test_names_that_wrappers_gave_are_understood(prefix: str, tmp_path: Path) -> None:
    ours, algo = algorithm()
    place = save_checkpoint(tmp_path, ours, 3, algo)
    export_file(place, tmp_path / "plain.pt")
    saved = read_checkpoint(place)
    for part in ("actor", "target_critic"):
        saved[part] = {prefix + name: value for name, value in saved[part].items()}
    write_safetensors(place, saved)
    export_file(place, tmp_path / "wrapped.pt")
    plain, wrapped = (torch.load(tmp_path / f"{n}.pt", weights_only=True) for n in ("plain", "wrapped"))
    assert torch.equal(plain["res_actor"]["fc_mean.weight"], wrapped["res_actor"]["fc_mean.weight"])


def spoiled(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return weights | {name: torch.full_like(weights[name], torch.nan)}
