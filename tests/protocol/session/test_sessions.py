"""Laws of the two session state machines, over a network made of lists."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.arrays import ProtocolError
from protocol.messages import (
    PROTOCOL_VERSION,
    Ack,
    Evaluation,
    Experience,
    Hello,
    Refused,
    Welcome,
)
from protocol.session.client import PATIENCE_HEARTBEATS, ClientSession
from protocol.session.compatibility import mismatch
from protocol.session.learner import PeerTable
from protocol.session.peer import Credit, SessionState, Verdict
from tests.support.spec import SPEC

HEARTBEAT_S = 1.0
CREDIT = 10
UNDURABLE = 16
LARGEST_BATCH = 4


HELLO = Hello(
    protocol_version=PROTOCOL_VERSION,
    actor_id="actor-0",
    session=1,
    role="actor",
    first_sequence=0,
    spec=SPEC,
)


def hello(actor_id: str = "actor-0", session: int = 1, **changes: Any) -> Hello:
    return msgspec.structs.replace(HELLO, actor_id=actor_id, session=session, **changes)


def table(run: dict[str, Any] | None = None, **changes: int) -> PeerTable:
    credit = msgspec.structs.replace(
        Credit(credit_rows=CREDIT, queue_rows=100, undurable_rows=UNDURABLE), **changes
    )
    return PeerTable(SPEC, credit, run=run, lease_s=5.0, heartbeat_s=HEARTBEAT_S)


def batch(number: int, rows: int) -> dict[str, np.ndarray]:
    return {"frames": np.full(rows, number, np.int32)}


class World:
    """One client, one learner with a journal, and a network that loses, doubles, mixes up and breaks as
    it is told. `disk` holds, for each session, the numbers of the messages that survive the learner."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.connection = 0
        self.session = 0
        self.disk: dict[int, list[int]] = {}
        self.promised: dict[int, int] = {}  # session -> how many messages its client was told to forget
        self.submitted: dict[int, int] = {}
        self.unsynced: list[tuple[int, int]] = []
        self._open_session()
        self.restart_learner(0)

    @property
    def arrived(self) -> list[int]:
        return self.disk.get(self.session, [])

    def restart_client(self, spool: bool) -> None:
        """The same actor, another process. With a spool it first delivers what the earlier one kept."""
        kept = list(self.client.kept)
        self.is_left_over = spool and bool(kept)
        if not self.is_left_over:
            self._open_session()
            return
        # Sent or not: here a message is in the spool from the moment it is handed over.
        opening = hello(session=self.session)
        self.client = ClientSession(opening, heartbeat_s=HEARTBEAT_S, now_s=self.now_s, left_over=kept)
        self.reconnect()

    def _open_session(self) -> None:
        self.is_left_over = False
        self.session += 1
        self.submitted[self.session] = 0
        opening = hello(session=self.session)
        self.client = ClientSession(opening, heartbeat_s=HEARTBEAT_S, now_s=self.now_s)
        self.reconnect()

    def restart_learner(self, survivors: int) -> None:
        """Of what was written and not synced, the first `survivors` messages are still there."""
        for session, number in self.unsynced[:survivors]:
            self.disk.setdefault(session, []).append(number)
        self.unsynced, self.waiting = [], []
        self.peers = table()
        self.peers.restore(
            SessionState("actor-0", "actor", session, len(numbers), session != max(self.disk))
            for session, numbers in self.disk.items()
        )
        self.reconnect()

    def reconnect(self) -> None:
        """Everything under way is lost, and the learner will see another connection."""
        self.connection += 1
        self.up: list = []
        self.down: list = []

    def submit(self, rows: int) -> None:
        if self.is_left_over:
            return  # an actor begins once its predecessor's rows are delivered
        number = self.submitted[self.session]
        if rows:
            self.client.submit_experience(batch(number, rows))
        else:
            self.client.submit_evaluation(
                policy="full", version=number, successes=[True], seeds=[0], wall_s=1.0
            )
        self.submitted[self.session] += 1

    def client_sends(self) -> None:
        self.up += self.client.due(self.now_s)

    def learner_takes(self) -> None:
        messages, self.up = self.up, []
        for message in messages:
            self.down += self._judge(message)
        self.down += self.peers.acks(self.now_s, everybody=False)

    def client_takes(self) -> None:
        messages, self.down = self.down, []
        for identity, message in messages:
            if identity == self.identity:
                self.client.receive(message, self.now_s)
        self.promised[self.session] = self.client.durable
        if self.is_left_over and not self.client.undurable:
            self._open_session()

    @property
    def identity(self) -> bytes:
        return str(self.connection).encode()

    def drain(self) -> None:
        for session, rows in self.waiting:
            self.peers.drained(session, rows)
        self.waiting = []

    def sync(self) -> None:
        for session, number in self.unsynced:
            self.disk.setdefault(session, []).append(number)
            self.peers.durable(session, len(self.disk[session]))
        self.unsynced = []

    def heartbeat(self) -> None:
        self.now_s += HEARTBEAT_S
        self.down += self.peers.acks(self.now_s, everybody=True)

    def settle(self) -> None:
        """A network without faults, until everything is durable."""
        for _ in range(200):
            if not self.client.undurable:
                return
            self.client_sends()
            self.learner_takes()
            self.client_takes()
            self.drain()
            self.sync()
            self.heartbeat()
            self.check()
        raise AssertionError(f"{self.client.undurable} messages never became durable")

    def check(self) -> None:
        """What holds at every moment."""
        client = self.client
        assert client.rows_in_flight >= 0
        assert 0 <= client.unsent <= client.unreceived <= client.undurable == len(client.kept)
        sent = list(client.kept)[: len(client.kept) - client.unsent]
        rows = sum(len(message.columns["frames"]) for message in sent if isinstance(message, Experience))
        assert rows < UNDURABLE + LARGEST_BATCH, "the client keeps more than was granted"
        for peer in self.peers:
            assert 0 <= peer.queued_rows < CREDIT + LARGEST_BATCH
            assert 0 <= peer.undurable_rows < UNDURABLE + LARGEST_BATCH
        for session, numbers in self.disk.items():
            assert numbers == list(range(len(numbers))), "twice, or out of order"
            assert len(numbers) >= self.promised.get(session, 0), "a durable message is gone"

    def _judge(self, message) -> list:
        if isinstance(message, Hello):
            return self.peers.open(message, self.identity, "there", self.now_s)
        peer = self.peers.find(message.session, self.identity, self.now_s)
        if peer is None or not isinstance(message, Experience | Evaluation):
            return []
        rows = len(message.columns["frames"]) if isinstance(message, Experience) else 0
        verdict = self.peers.admit(peer, message.sequence, rows)
        assert verdict is not Verdict.OVER_CREDIT, "an honest client never exceeds its credit"
        if verdict is Verdict.NEW:
            number = message.columns["frames"][0] if isinstance(message, Experience) else message.version
            self.unsynced.append((peer.session, int(number)))
            self.waiting.append((peer.session, rows))
        if verdict is Verdict.GAP and self.peers.wants_resend(peer, self.now_s):
            return [(peer.identity, self.peers.welcome(peer, self.now_s))]
        return []


def _faulty(messages: list, faults: list[int]) -> list:
    """Each message arrives as often as its fault says, 1 where nothing is said; -1: once, and at the end."""
    counts = faults + [1] * len(messages)
    marked = list(zip(messages, counts, strict=False))
    late = [message for message, count in marked if count == -1]
    return [message for message, count in marked for _ in range(count)] + late


fault_lists = st.lists(st.integers(-1, 2), max_size=6)
steps = st.one_of(
    st.tuples(st.just("submit"), st.integers(0, LARGEST_BATCH)),
    st.tuples(st.just("exchange"), fault_lists),
    st.tuples(st.just("up"), fault_lists),
    st.tuples(st.just("down"), fault_lists),
    st.tuples(st.just("drain"), st.none()),
    st.tuples(st.just("sync"), st.none()),
    st.tuples(st.just("heartbeat"), st.none()),
    st.tuples(st.just("reconnect"), st.none()),
)
restarts = st.one_of(
    st.tuples(st.just("restart learner"), st.integers(0, 5)),
    st.tuples(st.just("restart client"), st.booleans()),
)


def _play(world: World, step: tuple) -> None:
    match step:
        case ("submit", rows):
            world.submit(rows)
        case ("up", faults):
            world.client_sends()
            world.up = _faulty(world.up, faults)
            world.learner_takes()
        case ("down", faults):
            world.down = _faulty(world.down, faults)
            world.client_takes()
        case ("exchange", faults):
            world.submit(1)
            world.submit(2)
            _play(world, ("up", faults))
            _play(world, ("down", []))
        case ("drain", _):
            world.drain()
        case ("sync", _):
            world.sync()
        case ("heartbeat", _):
            world.heartbeat()
        case ("reconnect", _):
            world.reconnect()
        case ("restart learner", survivors):
            world.restart_learner(survivors)
        case ("restart client", spool):
            world.restart_client(spool)
    world.check()


@settings(max_examples=300, deadline=None)
@given(script=st.lists(steps, max_size=60))
def test_every_message_arrives_once_and_in_order_over_a_faulty_network(script: list[tuple]) -> None:
    world = World()
    for step in script:
        _play(world, step)
    world.settle()
    assert world.arrived == list(range(world.submitted[1]))


@settings(max_examples=300, deadline=None)
@given(script=st.lists(st.one_of(steps, restarts), max_size=80))
def test_every_message_arrives_once_over_restarts_of_either_side(script: list[tuple]) -> None:
    world = World()
    for step in script:
        _play(world, step)
    world.settle()
    assert world.arrived == list(range(world.submitted[world.session]))


@settings(max_examples=300, deadline=None)
@given(script=st.lists(st.one_of(steps, restarts), max_size=80))
def test_with_a_spool_no_session_ever_loses_a_message(script: list[tuple]) -> None:
    world = World()
    for step in script:
        _play(world, (step[0], True) if step[0] == "restart client" else step)
    world.settle()
    for session, submitted in world.submitted.items():
        assert world.disk.get(session, []) == list(range(submitted))


def test_a_learner_of_another_run_is_not_given_what_an_earlier_process_left() -> None:
    world = World()
    world.submit(4)
    world.settle()
    world.submit(4)
    world.restart_client(True)
    world.disk, world.promised = {}, {}
    world.restart_learner(0)
    for _ in range(3):
        world.client_sends()
        world.learner_takes()
        for _, message in world.down:
            world.client.receive(message, world.now_s)
        world.down = []
    assert "another run" in (world.client.refused or "")
    assert world.unsynced == []


def test_a_learner_restarted_unnoticed_gets_what_it_had_not_synced() -> None:
    world = World()
    world.submit(4)
    world.submit(0)
    for _ in range(2):
        world.client_sends()
        world.learner_takes()
        world.client_takes()
    assert (world.client.unreceived, world.client.undurable) == (0, 2)
    world.restart_learner(1)
    world.now_s += 0.1  # nobody's patience is over
    world.settle()
    assert world.arrived == [0, 1]


def test_received_frees_credit_and_durable_frees_memory() -> None:
    world = World()
    world.submit(4)
    for _ in range(2):
        world.client_sends()
        world.learner_takes()
        world.client_takes()
    assert (world.client.rows_in_flight, world.client.undurable) == (0, 1)
    world.sync()
    world.learner_takes()
    world.client_takes()
    assert (world.client.undurable, world.client.durable) == (0, 1)


def test_a_slow_disk_makes_the_client_wait() -> None:
    world = World()
    for _ in range(20):
        world.submit(4)
    for _ in range(20):
        world.client_sends()
        world.learner_takes()
        world.client_takes()
        world.drain()
        world.check()
    assert world.client.unsent == 20 - UNDURABLE // 4
    world.sync()
    world.learner_takes()
    world.client_takes()
    world.client_sends()
    assert world.client.unsent < 20 - UNDURABLE // 4


def test_a_client_without_credit_waits_until_rows_are_drained() -> None:
    world = World()
    for _ in range(10):
        world.submit(4)
    for _ in range(5):
        world.client_sends()
        world.learner_takes()
        world.client_takes()
    assert world.client.unsent == 7  # 3 batches cover the 10 rows
    world.drain()
    world.sync()
    world.learner_takes()
    world.client_takes()
    world.client_sends()
    assert world.client.unsent == 4


def test_an_evaluation_costs_no_credit_but_keeps_its_place() -> None:
    world = World()
    world.submit(4)
    world.submit(0)
    world.settle()
    assert world.arrived == [0, 1]


def test_silence_makes_the_client_say_hello_again() -> None:
    world = World()
    world.client_sends()
    world.learner_takes()
    world.client_takes()
    assert world.client.connected
    late_s = PATIENCE_HEARTBEATS * HEARTBEAT_S + 0.1
    assert [type(message) for message in world.client.due(late_s)] == [Hello]
    assert not world.client.connected


def test_of_many_hellos_that_come_together_one_is_answered() -> None:
    peers = table()
    answers = [peers.open(hello(), b"a", "there", 0.01 * number) for number in range(50)]
    assert [len(answer) for answer in answers] == [1] + [0] * 49
    assert len(peers.open(hello(), b"a", "there", 2.0)) == 1
    assert len(peers.open(hello(), b"reconnected", "there", 2.0)) == 1


def test_hello_is_not_repeated_before_the_patience_is_over() -> None:
    client = ClientSession(hello(), heartbeat_s=HEARTBEAT_S, now_s=0.0)
    said = [len(list(client.due(0.1 * tick))) for tick in range(65)]
    assert sum(said) == 3  # at 0, 3 and 6 s


def test_an_ack_of_what_was_never_sent_is_a_protocol_error() -> None:
    client = ClientSession(hello(), heartbeat_s=HEARTBEAT_S, now_s=0.0)
    with pytest.raises(ProtocolError, match="only 0 exist"):
        client.receive(Ack(session=1, next_sequence=1, durable_sequence=0, credit_rows=10), 0.0)


def test_the_newest_process_of_a_name_wins() -> None:
    peers = table()
    peers.open(hello(session=1), b"old", "there", 0.0)
    answers = peers.open(hello(session=2), b"new", "there", 1.0)
    assert [(who, type(what)) for who, what in answers] == [(b"new", Welcome), (b"old", Refused)]
    assert peers.find(1, b"old", 1.0) is None
    farewell = peers.farewell(1)
    assert farewell is not None
    assert "actor.id" in farewell.reason
    [(_, again)] = peers.open(hello(session=1), b"old", "there", 2.0)
    assert isinstance(again, Refused)
    assert [peer.session for peer in peers] == [2]


@pytest.mark.parametrize("session", [-1, 2**63])
def test_a_session_number_that_no_column_has_room_for_is_refused(session: int) -> None:
    assert "0 .. 2**63 - 1" in (mismatch(hello(session=session), SPEC) or "")


def test_a_session_number_of_somebody_else_is_refused() -> None:
    peers = table()
    peers.open(hello("actor-0", session=1), b"a", "there", 0.0)
    [(_, answer)] = peers.open(hello("actor-1", session=1), b"b", "there", 0.0)
    assert isinstance(answer, Refused)
    peers.open(hello("actor-0", session=3), b"a", "there", 0.0)
    assert [peer.session for peer in peers] == [3]


def test_a_silent_peer_is_gone_frees_its_share_and_may_come_back() -> None:
    peers = table(queue_rows=10, credit_rows=10)
    peers.open(hello("actor-0", 1), b"a", "there", 0.0)
    [(_, welcome)] = peers.open(hello("actor-1", 2), b"b", "there", 0.0)
    assert isinstance(welcome, Welcome)
    assert welcome.credit_rows == 5
    peers.find(2, b"b", 6.0)
    assert [peer.actor_id for peer in peers.live(6.0)] == ["actor-1"]
    [(_, ack)] = peers.acks(6.0, everybody=True)
    assert ack.credit_rows == 10
    peers.find(1, b"a", 7.0)
    assert len(peers.live(7.0)) == 2


def test_a_client_that_ignores_its_credit_is_held_back() -> None:
    peers = table()
    peers.open(hello(), b"a", "there", 0.0)
    peer = peers.find(1, b"a", 0.0)
    assert peer is not None
    verdicts = [peers.admit(peer, sequence, 6) for sequence in range(3)]
    assert verdicts == [Verdict.NEW, Verdict.NEW, Verdict.OVER_CREDIT]


@pytest.mark.parametrize("field", SPEC.__struct_fields__)
def test_a_differing_spec_is_refused_with_both_values_and_a_remedy(field: str) -> None:
    value = getattr(SPEC, field)
    match value:
        case str():
            theirs = value + "x"
        case tuple():
            theirs = (*value, "x")
        case dict():
            theirs = value | {"top": (4, 6)}
        case _:
            theirs = value + 1
    spec = msgspec.structs.replace(SPEC, **{field: theirs})
    reason = mismatch(hello(spec=spec), SPEC)
    assert reason is not None
    assert reason.startswith(f"actor actor-0 offers {field} {theirs}, this learner trains {field} {value}: ")


def test_a_client_without_a_spec_is_told_the_run_and_leaves_no_trace() -> None:
    run = {"name": "this one"}
    peers = table(run=run)
    peers.open(hello(), b"x", "", 0.0)
    [(identity, answer)] = peers.open(hello(session=2, spec=None), b"y", "", 0.0)
    assert identity == b"y"
    assert answer == Welcome(session=2, next_sequence=0, durable_sequence=0, credit_rows=0, run=run)
    assert [peer.session for peer in peers] == [1]
    assert peers.take_ended() == []
    assert peers.find(2, b"y", 0.0) is None
    assert peers.find(1, b"x", 0.0) is not None


def test_a_client_without_a_spec_is_refused_as_any_other() -> None:
    for wrong in (hello(protocol_version=9), hello(role="king"), hello("a\nb")):
        question = msgspec.structs.replace(wrong, spec=None)
        [(_, answer)] = table(run={"name": "this one"}).open(question, b"x", "", 0.0)
        assert answer == Refused(reason=mismatch(wrong, SPEC) or "")


def test_a_learner_that_cannot_describe_its_run_says_so() -> None:
    [(_, answer)] = table().open(hello(spec=None), b"x", "", 0.0)
    assert isinstance(answer, Refused) and "with a spec" in answer.reason


@pytest.mark.parametrize("run", [{"name": "this one"}, {}, None])
def test_a_question_ends_with_the_answer(run: dict[str, Any] | None) -> None:
    client = ClientSession(hello(spec=None), heartbeat_s=HEARTBEAT_S, now_s=0.0)
    assert [message.spec for message in client.due(0.0) if isinstance(message, Hello)] == [None]
    answer = Welcome(session=1, next_sequence=0, durable_sequence=0, credit_rows=0, run=run)
    client.receive(answer, 0.0)
    assert client.run == run
    assert not client.connected
    assert (client.refused is None) == (run is not None)


def test_a_wrong_version_role_or_name_is_refused() -> None:
    assert f"protocol 9, this learner {PROTOCOL_VERSION}" in (mismatch(hello(protocol_version=9), SPEC) or "")
    assert "neither actor nor evaluator" in (mismatch(hello(role="king"), SPEC) or "")
    assert "printable" in (mismatch(hello("a\nb"), SPEC) or "")
    assert "printable" in (mismatch(hello("a" * 65), SPEC) or "")
    assert mismatch(hello(), SPEC) is None
