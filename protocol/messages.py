"""Every message that crosses the wire; the only definition of each.

A message is a msgspec struct. Fields of type `Columns` travel as raw array frames behind the header
(see `codec.py`); everything else is msgpack in the header.
"""

from typing import Any

import msgspec

from protocol.arrays import Columns
from protocol.experience import ExperienceSpec

PROTOCOL_VERSION = 7


class Message(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """Base of all messages; `kind` in the header is the class name."""


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How actors act until the next weights; decided by the learner alone."""

    mask_probability: float
    """Probability that a decision's residual acts at all (progressive exploration)."""
    mask_episodes: bool
    """The mask is drawn once for each episode, not for each decision."""
    uniform: bool
    """Residuals are uniform in [-1, 1]: nothing was learned yet."""
    noise_std: float
    """Gaussian noise on a deterministic residual."""
    noise_ladder: bool
    """Sub-environment i of N explores with noise_std * i / (N - 1)."""
    noise_probability: float
    """Probability that a decision without noise begins with some."""
    noise_decisions: int
    """Decisions that one draw of noise lasts."""
    decisions: int
    """Decisions that the learner had received at publication."""
    round: int = 0
    """Decisions or episodes, as the algorithm counts them, that each sub-environment plays with these weights
    before it waits for newer ones; 0: it does not wait."""


BASE_ALONE = Behaviour(
    mask_probability=0.0,
    mask_episodes=False,
    uniform=False,
    noise_std=0.0,
    noise_ladder=False,
    noise_probability=1.0,
    noise_decisions=1,
    decisions=0,
)
"""Of actors before the first weights."""


# --- actor or evaluator -> learner, over 5588 -------------------------------------------------


class Hello(Message, frozen=True, tag="hello"):
    """First message of every session, or, without a spec, the question which run this learner trains."""

    protocol_version: int
    actor_id: str
    """Survives a restart of the process."""
    session: int
    """Random, never the same twice: tells a restarted actor from a reconnected one."""
    role: str
    """"actor" or "evaluator"."""
    first_sequence: int
    """The oldest message that the client keeps; a learner that does not know the session starts here."""
    spec: ExperienceSpec | None
    """None: the client does not know the run yet. The answer is a Welcome with `run`, or Refused; no session
    is opened."""


class Experience(Message, frozen=True, tag="experience"):
    """Whole decisions of one actor, in time order for every sub-environment.

    The columns are those that `protocol.experience.columns_of` gives for the spec of the session.
    """

    session: int
    sequence: int
    """Counts up from 0 within the session, experience and evaluations together."""
    columns: Columns


class Heartbeat(Message, frozen=True, tag="heartbeat"):
    """Says that the sender is alive, with figures for people to look at."""

    session: int
    figures: dict[str, float]


class WeightsRequest(Message, frozen=True, tag="weights_request"):
    """A late joiner asks for the newest weights."""

    session: int


class Evaluation(Message, frozen=True, tag="evaluation"):
    """Result of an evaluator's run over fixed seeds."""

    session: int
    sequence: int
    """Counts up from 0 within the session, experience and evaluations together."""
    policy: str
    """"base" or "full"."""
    version: int
    successes: list[bool]
    seeds: list[int]
    wall_s: float
    true_successes: list[bool] | None = None
    """As the simulator sees them, where a classifier says success."""

    @property
    def success(self) -> float:
        """Share of successful episodes; there is at least one."""
        return sum(self.successes) / len(self.successes)


# --- learner -> actor or evaluator, over 5588 -------------------------------------------------


class Welcome(Message, frozen=True, tag="welcome"):
    """The session is open, or, with `run`, the answer to a Hello without a spec."""

    session: int
    next_sequence: int
    """First sequence number that the learner has not received of this session."""
    durable_sequence: int
    """As in Ack."""
    credit_rows: int
    """Rows that may be in flight beyond `next_sequence`; the client sends while some are left."""
    run: dict[str, Any] | None
    """What clients must share with the learner, for one that asked; None in every other Welcome."""


class Refused(Message, frozen=True, tag="refused"):
    """The session is not opened, or is closed; final."""

    reason: str


class Ack(Message, frozen=True, tag="ack"):
    """What has arrived, in two levels. All of it is as of now, so a lost or repeated ack does no harm."""

    session: int
    next_sequence: int
    """Everything below was received; a lower number than before: the learner lost the rest, send it again."""
    durable_sequence: int
    """Everything below is on the learner's disk: it survives the learner, the client may forget it."""
    credit_rows: int
    """As in Welcome."""


class Progress(Message, frozen=True, tag="progress"):
    """The learner's heartbeat."""

    decisions: int
    updates: int
    version: int
    evaluate: bool
    """The final weights are out: evaluators run once more over all their seeds."""
    finished: bool
    """The run is over: actors and evaluators leave."""


# --- learner -> everybody, over 5589 (and over 5588 on request) ---------------------------------


class BaseAnnounced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The newest trained base, which clients fetch in pieces over 5589: `protocol.session.pieces`."""

    version: int
    """That of the weights which announced it first. The base that a run began with is version 0."""
    digest: str
    """SHA-256 of the content, in hex."""
    bytes: int
    """Of the content: a safetensors file of the base's weights."""
    piece_bytes: int
    """Of each piece but the last."""


class Weights(Message, frozen=True, tag="weights"):
    """Newest residual. `digest` is the SHA-256 of the arrays in name order, in hex."""

    version: int
    digest: str
    behaviour: Behaviour
    final: bool
    columns: Columns
    """Empty: actors play the base alone."""
    base: BaseAnnounced | None
    """The base that they are for; None: the one that the run began with."""


FromClient = Hello | Experience | Heartbeat | WeightsRequest | Evaluation
FromLearner = Welcome | Refused | Ack | Progress | Weights
