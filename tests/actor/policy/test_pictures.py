"""Pictures that a residual sees: learner and actor mean the same by a decision's pictures."""

import msgspec
import numpy as np
import pytest
import torch

from actor.policy.decorated import EvaluatedPolicy
from actor.policy.images import tensor_of
from actor.policy.pictures import DecidedPictures, PictureEncoder, channels_of, stacked
from actor.policy.residual import ResidualActor
from config.algo import AlgoConfig
from config.pictures import PicturesConfig
from learner.replay.memory.ring import Ring
from tests.support.columns import CAMERAS, SIZES
from tests.support.fakes import CountingBase, ScriptedEnvironment
from tests.support.helpers import collect, make_config, make_rollout

WORDS = (
    "task.cameras=[top,wrist]", "task.camera_size=[32,16]", "learner.demos=null", "algo.prior_fraction=0",
    "algo.sees=[pictures]", "algo.last_layer_gain=1", "algo.pictures.channels=[4,4]",
    "algo.pictures.width=6",
)  # fmt: skip


def recipe(*words: str) -> AlgoConfig:
    algo = make_config(*WORDS, *words).algo
    assert isinstance(algo, AlgoConfig)
    return algo


def settings(frames: int = 1, cameras: tuple[str, ...] = ("a",)) -> PicturesConfig:
    return PicturesConfig(
        cameras=cameras, size=(4, 3), frames=frames, channels=(2,), width=5, shift=0, depth_range=(0.5, 2.5)
    )


def shown(*values: int) -> dict[str, torch.Tensor]:
    """Pictures of camera a, all of whose pixels are one value."""
    return {"a": torch.tensor(values, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 4, 3)}


def test_cameras_and_frames_become_channels_in_order() -> None:
    frames = torch.arange(2 * 2 * 3 * 4 * 3).view(2, 2, 3, 4, 3).to(torch.uint8)
    found = stacked({"b": frames + 100, "a": frames}, settings(2, ("a", "b")))
    assert found.shape == (2, 12, 3, 4)
    for camera, offset in ((0, 0), (1, 100)):
        for frame in range(2):
            channels = found[:, 6 * camera + 3 * frame : 6 * camera + 3 * frame + 3]
            assert torch.equal(channels, (frames[:, frame] + offset).movedim(-1, 1))


def test_an_encoder_gives_as_many_numbers_as_configured_whatever_else_is_in_the_batch() -> None:
    torch.manual_seed(0)
    encoder = PictureEncoder(settings(2, ("a", "b")))
    pictures = torch.randint(0, 256, (3, 12, 3, 4), dtype=torch.uint8)
    found = encoder(pictures)
    assert found.shape == (3, 5) and found.abs().max() < 1
    torch.testing.assert_close(encoder(pictures[1:2]), found[1:2])


def test_distances_beside_colours_are_channels_of_their_own() -> None:
    colours = torch.randint(0, 256, (2, 2, 3, 4, 3), dtype=torch.uint8)
    distances = tensor_of(np.random.default_rng(0).integers(0, 2**16, (2, 2, 3, 4, 1), np.uint16))
    seen = settings(2, ("a", "a_depth"))
    found = stacked({"a_depth": distances, "a": colours}, seen)
    assert found.shape == (2, channels_of(seen), 3, 4) == (2, 8, 3, 4)
    assert torch.equal(found[:, :3].to(torch.uint8), colours[:, 0].movedim(-1, 1))
    assert torch.equal(found[:, 7], distances[:, 1, ..., 0])


def test_an_encoder_scales_distances_within_their_range_and_cuts_those_beyond() -> None:
    """Also those that have the bits of negative numbers; colours are scaled as without depth."""
    encoder, plain = PictureEncoder(settings(1, ("a", "a_depth"))), PictureEncoder(settings())
    seen: list[torch.Tensor] = []
    for each in (encoder, plain):
        each.layers.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    millimetres = np.array([0, 500, 1500, 2500, 40000, 65535], np.uint16)
    distances = tensor_of(millimetres.repeat(12).reshape(6, 1, 3, 4, 1))
    colours = torch.randint(0, 256, (6, 1, 3, 4, 3), dtype=torch.uint8)
    encoder(stacked({"a": colours, "a_depth": distances}, settings(1, ("a", "a_depth"))))
    plain(stacked({"a": colours}, settings()))
    assert seen[0][:, 3, 1, 1].tolist() == [-0.5, -0.5, 0.0, 0.5, 0.5, 0.5]
    torch.testing.assert_close(seen[0][:, :3], seen[1], rtol=0, atol=1e-7)


def test_the_range_of_distances_is_no_weight() -> None:
    """Weights cross the wire and are in checkpoints; the range is in the configuration of both sides."""
    assert set(PictureEncoder(settings(1, ("a_depth",))).state_dict()) == {
        "layers.0.weight", "layers.0.bias", "last.0.weight", "last.0.bias", "last.1.weight", "last.1.bias",
    }  # fmt: skip


def test_a_stack_is_of_decisions_and_begins_with_an_episodes_first_pictures() -> None:
    decided = DecidedPictures(settings(3), 2, torch.device("cpu"))
    both, first = torch.arange(2), torch.tensor([0])
    decided.begin(both, shown(1, 11))
    assert decided.decide(both)[:, ::3, 0, 0].tolist() == [[1, 1, 1], [11, 11, 11]]
    decided.observe(shown(2, 12))  # between two decisions
    decided.observe(shown(3, 13))
    assert decided.decide(first)[:, ::3, 0, 0].tolist() == [[1, 1, 3]]
    decided.observe(shown(4, 14))
    decided.begin(first, shown(5, 0))  # only the first one's episode is new
    assert decided.decide(both)[:, ::3, 0, 0].tolist() == [[5, 5, 5], [11, 11, 14]]


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("cameras", [CAMERAS, ("top", "top_depth")])
def test_a_residual_acts_on_the_pictures_that_the_learner_draws_for_its_decision(
    frames: int, cameras: tuple[str, ...]
) -> None:
    """Encoder and network, given a row and its pictures of the ring, decide as the actor did."""
    words = (f"algo.pictures.frames={frames}", "algo.residual_every=4", "algo.pictures.depth_range=[0,65]")
    algo = recipe(*words, f"task.cameras=[{','.join(cameras)}]")
    sizes = dict.fromkeys(cameras, SIZES["top"])
    base = CountingBase()
    torch.manual_seed(0)
    residual = ResidualActor(algo, base.observation_dim, base.action_dim)
    policy = EvaluatedPolicy(
        base, residual, num_envs=2, residual_every=4, residual_scale=0.1, device="cpu", first_seed=0
    )
    envs = ScriptedEnvironment([[7, 30], [11]], cameras=cameras)
    columns = collect(make_rollout(envs, policy, 4, cameras=sizes), 40)
    ring = Ring(64, 3, 8, cameras=sizes)
    ring.add("a", columns)
    drawn = ring.sample_with_places(
        300, np.random.default_rng(0), n_step=1, gamma=0.9, reward_offset=0, looks_at=algo.pictures
    )
    assert drawn.pictures is not None and drawn.next_pictures is not None and residual.encoder is not None
    batch = drawn.transitions
    row = torch.cat([batch.observation, residual.encoder(drawn.pictures)], dim=1)
    decided = residual.mode(residual.sight(row), batch.base_plan)
    torch.testing.assert_close(decided, batch.residual, atol=1e-5, rtol=1e-4)
    assert decided.std(0).max() > 1e-3
    # Its newest picture shows the state itself, see ScriptedEnvironment.
    newest = drawn.next_pictures[:, 3 * frames - 3 : 3 * frames - 1, 0, 0]
    assert torch.equal(newest.to(torch.uint8), batch.next_observation[:, :2].to(torch.uint8))


def test_a_residual_that_sees_no_pictures_has_no_encoder() -> None:
    algo = msgspec.structs.replace(recipe(), sees=("state",), critics_see=("state",))
    assert ResidualActor(algo, 3, 2).encoder is None
