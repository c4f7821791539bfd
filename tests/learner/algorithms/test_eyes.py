"""Updates that see pictures: the critics train the encoder, another follows it, shifts are exact."""

import copy

import pytest
import torch
from torch import Tensor

from config.algo import AlgoConfig
from config.process import UsageError
from config.section import ConfigError
from learner.algorithms.eyes import shifted
from learner.algorithms.residual_sac import TAU, ResidualSAC
from tests.support.helpers import make_config

WORDS = (
    "task.cameras=[top]", "task.camera_size=[16,16]", "learner.demos=null", "algo.prior_fraction=0",
    "algo.pictures.channels=[4,4]", "algo.pictures.width=6", "algo.critic_warmup_updates=0",
    "algo.actor_delay=1", "algo.last_layer_gain=1", "algo.residual_every=4", "algo.proprioception=[[0,2]]",
)  # fmt: skip
SEES = {
    "alike": ("algo.sees=[proprioception,pictures]",),
    "asymmetric": ("algo.sees=[pictures]", "algo.critics_see=[state,pictures]"),
}


def make(kind: str = "alike", *words: str) -> ResidualSAC:
    algo = make_config(*WORDS, *SEES[kind], *words).algo
    assert isinstance(algo, AlgoConfig)
    return ResidualSAC(algo, 5, 2, seed=0, device="cpu")


def batch_of(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    sizes = {"observation": 5, "base_plan": 8, "residual": 8, "next_observation": 5, "next_base_plan": 8}
    batch = {name: torch.rand(16, size) for name, size in sizes.items()}
    pictures = {
        name: torch.randint(0, 256, (16, 3, 16, 16), dtype=torch.uint8)
        for name in ("pictures", "next_pictures")
    }
    return batch | pictures | {"reward": torch.rand(16), "discount": torch.ones(16)}


def test_a_shift_moves_each_picture_by_itself_and_repeats_its_edge() -> None:
    picture = torch.arange(25, dtype=torch.uint8).view(1, 1, 5, 5)
    found = shifted(picture.expand(64, 2, 5, 5), 2, torch.Generator().manual_seed(0))
    expected = {
        (down, across): picture[0, 0][
            (torch.arange(5) + down).clamp(0, 4)[:, None], (torch.arange(5) + across).clamp(0, 4)
        ]
        for down in range(-2, 3)
        for across in range(-2, 3)
    }
    seen = set()
    for one in found:
        assert torch.equal(one[0], one[1]), "all channels move together"
        [by] = [by for by, values in expected.items() if torch.equal(values, one[0])]
        seen.add(by)
    assert len(seen) > 10
    assert shifted(picture, 0, torch.Generator()) is picture


@pytest.mark.parametrize("kind", SEES)
def test_the_critics_train_the_encoder_and_the_actor_does_not(kind: str) -> None:
    algorithm, batch = make(kind), batch_of()
    encoder = algorithm.actor.encoder
    assert encoder is not None
    before = copy.deepcopy(encoder.state_dict())
    algorithm._step_actor({name: column.detach() for name, column in algorithm._seen(batch).items()})
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    algorithm._step_critic(algorithm._seen(batch))
    assert not any(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


@pytest.mark.parametrize("kind", SEES)
def test_a_target_sees_what_the_slow_encoder_makes(kind: str) -> None:
    algorithm = make(kind, "algo.pictures.shift=0", "algo.observation_noise=0", "algo.target_noise_std=0")
    for seed in range(3):
        algorithm.update(batch_of(seed))
    batch, actor = batch_of(9), algorithm.actor
    assert algorithm._eyes is not None and actor.encoder is not None
    newest, slow = actor.encoder(batch["next_pictures"]), algorithm._eyes.target(batch["next_pictures"])
    assert not torch.allclose(newest, slow)
    rows = batch["next_observation"]
    torch.manual_seed(0)
    algorithm._rng.manual_seed(0)
    found = algorithm.bootstrap_target(algorithm._seen(batch))
    algorithm._rng.manual_seed(0)
    members = torch.randperm(algorithm.algo.critics, generator=algorithm._rng)[:2]
    residual = actor.mode(actor.sight(torch.cat([rows, slow], dim=1)), batch["next_base_plan"])
    of_critics = algorithm._sights.critics(torch.cat([rows, slow], dim=1))
    features = algorithm._action_features(batch["next_base_plan"], residual)
    q = algorithm.target_critic(of_critics, features, members).min(0).values
    expected = (batch["reward"] + batch["discount"] * q).clamp(0, 1)
    torch.testing.assert_close(found, expected)


def test_the_slow_encoder_goes_a_hundredth_of_the_way() -> None:
    algorithm = make()
    assert algorithm._eyes is not None
    before = [parameter.clone() for parameter in algorithm._eyes.target.parameters()]
    algorithm.update(batch_of())
    triples = zip(before, algorithm._eyes.target.parameters(), algorithm._eyes.parameters(), strict=True)
    for was, now, source in triples:
        torch.testing.assert_close(now, was + TAU * (source - was))


@pytest.mark.parametrize("kind", SEES)
def test_its_state_is_resumed_to_the_bit_and_actors_get_the_encoder(kind: str) -> None:
    straight, first = make(kind), make(kind)
    for seed in range(4):
        straight.update(batch_of(seed))
    for seed in range(2):
        first.update(batch_of(seed))
    second = make(kind)
    second.load_state(first.state())
    for seed in range(2, 4):
        second.update(batch_of(seed))
    theirs = second.published()
    assert any(name.startswith("encoder.") for name in theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in straight.published().items())
    slow = second.networks()["target_encoder"]
    assert all(
        torch.equal(value, slow[name]) for name, value in straight.networks()["target_encoder"].items()
    )


def test_a_batch_in_pieces_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    algorithm = make()
    monkeypatch.setattr(algorithm._ranks, "pieces", lambda batch: [batch, batch])
    with pytest.raises(UsageError, match="gradient_accumulation_steps=1"):
        algorithm.update(batch_of())


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("algo.critics_see=[state]",), "must name pictures both or neither"),
        (("task.cameras=[]",), r"algo\.pictures\.cameras names no camera"),
        (("algo.pictures.cameras=[side]",), r"algo\.pictures\.cameras names side, task\.cameras does not"),
        (("algo.pictures.size=[32,32]",), r"algo\.pictures\.size=\[32, 32\] must be task\.camera_size"),
        (("learner.record_images=null",), r"learner\.record_images must be image or video"),
        (("learner.processes=2",), r"learner\.processes must be 1"),
        (("algo.pictures.channels=[4,4,4,4]",), r"channels must be fewer layers for size=\[16, 16\]"),
        (("algo=ppo",), "sees must be of state and proprioception"),
    ],
)
def test_what_cannot_be_seen_is_refused_naming_the_key(words: tuple[str, ...], says: str) -> None:
    fitting = [word for word in WORDS if "algo=ppo" not in words or not word.startswith("algo.")]
    with pytest.raises(ConfigError, match=says):
        make_config(*fitting, *SEES["alike"], *words)
