"""Laws of uplink and intake together, over real sockets; and of the checks of experience."""

import logging
import multiprocessing
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import msgspec
import numpy as np
import pytest

from actor.link.uplink import Uplink, UplinkError
from config.wire import WireConfig
from launch.make_keys import make_keys
from learner.intake.intake import Intake, IntakeError
from protocol.arrays import Limits
from protocol.channel.client import ClientChannel
from protocol.channel.sockets import Endpoint
from protocol.codec import decode_from_learner, encode
from protocol.messages import (
    PROTOCOL_VERSION,
    Experience,
    Hello,
    Refused,
    Weights,
)
from tests.support.spec import SPEC
from tests.support.wire import (
    PROGRESS,
    TIMEOUT_S,
    acting,
    learning,
    make_columns,
    make_weights,
    make_wire,
    pump_until,
)


@pytest.fixture
def wire(free_ports: tuple[int, int]) -> WireConfig:
    return make_wire(free_ports)


def episodes(received: list) -> list[int]:
    """The numbers of all rows, in order of arrival."""
    return [int(number) for batch in received for number in batch.columns["episode"]]


def test_rows_arrive_as_they_were_sent(wire: WireConfig) -> None:
    sent = make_columns(100)
    with learning(wire) as intake, acting(wire) as uplink:
        uplink.send(sent)
        [received] = intake.drain(timeout_s=TIMEOUT_S)
        assert uplink.flush(TIMEOUT_S)
    assert received.actor_id == "actor-0"
    assert received.columns.keys() == sent.keys()
    for name, column in sent.items():
        np.testing.assert_array_equal(received.columns[name], column)
        assert received.columns[name].flags.aligned


def test_a_learner_that_does_not_drain_makes_the_actor_wait(wire: WireConfig) -> None:
    stop = threading.Event()
    with learning(wire) as intake, acting(wire, stop=stop) as uplink:
        for number in range(8):
            uplink.send(make_columns(8 * number))  # the whole credit of 64 rows
        assert uplink.flush(TIMEOUT_S)
        sender = threading.Thread(target=lambda: uplink.send(make_columns(64)))
        sender.start()
        sender.join(0.5)
        assert sender.is_alive()
        assert intake.queued_rows() == 64
        first = intake.drain(max_rows=8)
        sender.join(TIMEOUT_S)
        assert not sender.is_alive()
        rest: list = []
        pump_until(lambda: rest.extend(intake.drain()) or len(rest) == 8, uplink)
    assert episodes(first) == list(range(8))
    assert episodes(rest) == list(range(8, 72))


def test_stop_ends_a_wait_for_credit(wire: WireConfig) -> None:
    stop = threading.Event()
    stop.set()
    narrow = msgspec.structs.replace(wire, credit_rows=1)
    with learning(narrow) as intake, acting(wire, stop=stop, connect=False) as uplink:
        pump_until(lambda: uplink.progress, uplink)
        for number in range(5):
            uplink.send(make_columns(8 * number))
        assert not uplink.flush(0.3)
        drained: list = []
        pump_until(lambda: drained.extend(intake.drain()) or len(drained) == 5, uplink)
    assert episodes(drained) == list(range(40))


def test_actors_share_the_queue_and_none_is_lost_or_doubled(wire: WireConfig) -> None:
    drained: list = []
    with learning(wire, queue_rows=100) as intake:

        def act(actor_id: str) -> None:
            with acting(wire, actor_id) as uplink:
                for number in range(50):
                    uplink.send(make_columns(8 * number))
                assert uplink.flush(TIMEOUT_S)

        threads = [threading.Thread(target=act, args=(f"actor-{i}",)) for i in range(3)]
        for thread in threads:
            thread.start()
        deadline_s = time.monotonic() + TIMEOUT_S
        while len(drained) < 150 and time.monotonic() < deadline_s:
            drained += intake.drain(max_rows=16, timeout_s=0.1)
        for thread in threads:
            thread.join(TIMEOUT_S)
        assert len(intake.peers()) == 3
    for i in range(3):
        own = [batch for batch in drained if batch.actor_id == f"actor-{i}"]
        assert episodes(own) == list(range(400))


def _run_learner(wire: WireConfig, pipe: Connection) -> None:
    with learning(wire) as intake:
        pipe.send("ready")
        while True:
            for number in episodes(intake.drain(timeout_s=0.05)):
                pipe.send(number)


@contextmanager
def learner_process(wire: WireConfig) -> Iterator[tuple[multiprocessing.process.BaseProcess, Connection]]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run_learner, args=(wire, theirs), daemon=True)
    process.start()
    try:
        assert ours.poll(TIMEOUT_S)
        assert ours.recv() == "ready"
        yield process, ours
    finally:
        process.kill()
        process.join()


def _take(pipe: Connection, count: int) -> list[int]:
    taken = []
    for _ in range(count):
        assert pipe.poll(TIMEOUT_S)
        taken.append(pipe.recv())
    return taken


def test_actor_outlives_a_killed_learner_and_sends_the_next_one_what_it_holds(wire: WireConfig) -> None:
    with acting(wire, connect=False) as uplink:
        with learner_process(wire) as (process, pipe):
            uplink.connect()
            uplink.send(make_columns(0))
            assert uplink.flush(TIMEOUT_S)
            assert _take(pipe, 8) == list(range(8))
            process.kill()
            process.join()
            sender = threading.Thread(target=lambda: [uplink.send(make_columns(8 * n)) for n in range(1, 20)])
            sender.start()
        with learner_process(wire) as (_, pipe):
            assert _take(pipe, 8 * 19) == list(range(8, 160))
            sender.join(TIMEOUT_S)
            assert uplink.flush(TIMEOUT_S)


def test_an_absent_learner_is_said_to_be_absent_and_given_up_in_time(
    free_ports: tuple[int, int], caplog: pytest.LogCaptureFixture
) -> None:
    wire = make_wire(free_ports, connect_timeout_s=1.0)
    said = f"no learner answers at 127.0.0.1:{free_ports[0]} for 1 s"
    with acting(wire, connect=False) as uplink, pytest.raises(UplinkError, match=said):
        uplink.connect()
    assert "no word from the learner" in caplog.text


def test_another_spec_is_refused_with_one_clear_line(wire: WireConfig) -> None:
    spec = msgspec.structs.replace(SPEC, act_horizon=16)
    with learning(wire) as intake, acting(wire, connect=False, spec=spec) as uplink:
        with pytest.raises(UplinkError) as caught:
            uplink.connect()
        assert intake.counters()["refused"] == 1
        assert intake.peers() == []
    assert (
        "actor actor-0 offers act_horizon 16, this learner trains act_horizon 8: "
        "start it with base.act_horizon=8"
    ) in str(caught.value)


def test_a_client_without_the_learners_trust_ends_with_one_clear_line(
    wire: WireConfig, tmp_path: Path
) -> None:
    make_keys(tmp_path, [])
    guarded = msgspec.structs.replace(wire, keys_dir=str(tmp_path))
    with learning(guarded) as intake:
        with acting(wire, connect=False) as stranger, pytest.raises(UplinkError, match="wire.keys_dir"):
            stranger.connect()
        with acting(guarded) as friend:
            friend.send(make_columns(0))
            assert len(intake.drain(timeout_s=TIMEOUT_S)) == 1


def test_missing_keys_are_one_clear_line_on_both_sides(wire: WireConfig, tmp_path: Path) -> None:
    guarded = msgspec.structs.replace(wire, keys_dir=str(tmp_path / "none"))
    with pytest.raises(UplinkError, match="launch/keys.sh|actor-local.secret"), acting(guarded):
        pass
    with pytest.raises(IntakeError, match="launch/keys.sh"), learning(guarded):
        pass


def test_newest_process_of_a_name_wins_and_the_older_is_told(wire: WireConfig) -> None:
    with learning(wire) as intake, acting(wire) as old, acting(wire) as new:
        with pytest.raises(UplinkError, match="another process named actor-0 took over"):
            pump_until(lambda: False, old)
        new.send(make_columns(0))
        assert len(intake.drain(timeout_s=TIMEOUT_S)) == 1
        assert len(intake.peers()) == 1


def test_evaluations_arrive_once_and_evaluators_send_no_experience(wire: WireConfig) -> None:
    with learning(wire) as intake, acting(wire, "evaluator-0", role="evaluator") as uplink:
        uplink.send_evaluation(
            policy="full", version=3, successes=[True, np.bool_(False)], seeds=[7, 8], wall_s=1.5
        )
        uplink.send(make_columns(0))
        assert uplink.flush(TIMEOUT_S)
        [arrived] = intake.evaluations()
        assert intake.evaluations() == []
        assert intake.drain() == []
        assert intake.counters() == {"evaluations": 1, "bad_experience": 1}
    assert (arrived.policy, arrived.version, arrived.successes, arrived.seeds) == (
        "full", 3, [True, False], [7, 8],
    )  # fmt: skip


def test_a_late_joiner_gets_the_newest_weights_and_older_ones_never_follow(wire: WireConfig) -> None:
    got: list[Weights] = []

    def look(uplink: Uplink) -> bool:
        weights = uplink.newest_weights()
        if weights is not None:
            got.append(weights)
        return weights is not None

    with learning(wire) as intake:
        intake.publish(make_weights(4))
        intake.publish(make_weights(5))
        with acting(wire) as uplink:
            pump_until(lambda: look(uplink), uplink)
            intake.publish(make_weights(3))
            intake.publish(make_weights(7))
            intake.announce(msgspec.structs.replace(PROGRESS, version=7))
            pump_until(lambda: look(uplink), uplink)
            assert uplink.newest_weights() is None
    assert [weights.version for weights in got] == [5, 7]
    np.testing.assert_array_equal(got[-1].columns["layer.weight"], np.full((3, 4), 7, np.float32))


def test_who_connects_before_the_first_weights_gets_them_too(wire: WireConfig) -> None:
    with learning(wire) as intake, acting(wire) as uplink:
        assert uplink.newest_weights() is None
        intake.publish(make_weights(1))
        got: list[Weights] = []
        pump_until(lambda: got.extend(w for w in [uplink.newest_weights()] if w) or got, uplink)
    assert [weights.version for weights in got] == [1]


def test_weights_with_a_wrong_digest_are_ignored(wire: WireConfig, caplog: pytest.LogCaptureFixture) -> None:
    with learning(wire) as intake, acting(wire) as uplink:
        intake.publish(msgspec.structs.replace(make_weights(1), digest="0" * 64))
        pump_until(lambda: uplink.newest_weights() or "digest is wrong" in caplog.text, uplink)
        intake.publish(make_weights(2))
        versions: list[int] = []
        pump_until(
            lambda: versions.extend(w.version for w in [uplink.newest_weights()] if w) or versions, uplink
        )
    assert versions == [2]


def test_published_weights_do_not_follow_the_learners_own(wire: WireConfig) -> None:
    weights = make_weights(1)
    with learning(wire) as intake:
        intake.publish(weights)
        weights.columns["layer.weight"][:] = np.nan
        got: list[Weights] = []
        with acting(wire) as uplink:
            pump_until(lambda: got.extend(w for w in [uplink.newest_weights()] if w) or got, uplink)
    np.testing.assert_array_equal(got[0].columns["layer.weight"], np.full((3, 4), 1, np.float32))


def test_everybody_hears_of_progress_even_if_it_is_the_learners_last_word(wire: WireConfig) -> None:
    with acting(wire, "actor-0", connect=False) as one, acting(wire, "actor-1", connect=False) as two:
        with learning(wire) as intake:
            one.connect()
            two.connect()
            intake.announce(msgspec.structs.replace(PROGRESS, version=9))
            pump_until(lambda: all(u.progress and u.progress.version == 9 for u in (one, two)), one, two)
            intake.announce(msgspec.structs.replace(PROGRESS, finished=True))
            assert not any(u.progress and u.progress.finished for u in (one, two))
        # Nobody read it before the learner was gone.
        pump_until(lambda: all(u.progress and u.progress.finished for u in (one, two)), one, two)
        assert [u.progress.version for u in (one, two) if u.progress] == [0, 0]


def test_a_silent_actor_is_gone_and_comes_back(wire: WireConfig) -> None:
    with learning(wire) as intake, acting(wire) as uplink:
        uplink.pump({"frames_per_s": 120.0})
        pump_until(lambda: intake.peers()[0].figures == {"frames_per_s": 120.0}, uplink)
        pump_until(lambda: not intake.peers()[0].alive)
        uplink.send(make_columns(0))
        pump_until(lambda: intake.peers()[0].alive and intake.peers()[0].rows == 8, uplink)
        assert intake.peers()[0].address == "127.0.0.1"


def test_a_port_in_use_is_an_intake_error(wire: WireConfig) -> None:
    with learning(wire), pytest.raises(IntakeError, match=f"wire.experience_port={wire.experience_port}"):
        Intake(wire, SPEC, queue_rows=10).start()


@pytest.mark.parametrize("run", [{"task": "x" * 300}, {"seed": 10**30}])
def test_a_run_that_no_header_can_describe_is_refused_before_anybody_asks(
    wire: WireConfig, run: dict[str, object]
) -> None:
    small = msgspec.structs.replace(wire, max_header_bytes=300)
    with pytest.raises(IntakeError, match="wire.max_header_bytes"):
        Intake(small, SPEC, queue_rows=10, run=run)


def test_a_failure_of_the_thread_is_raised_in_its_owner(
    wire: WireConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **more: object) -> None:
        raise ZeroDivisionError("broken invariant")

    intake = Intake(wire, SPEC, queue_rows=10)
    monkeypatch.setattr("learner.intake.admission.Admission.due", fail)
    intake.start()
    with pytest.raises(ZeroDivisionError, match="broken invariant"):
        intake.drain(timeout_s=TIMEOUT_S)
    with pytest.raises(ZeroDivisionError, match="broken invariant"):
        intake.raise_if_failed()
    intake.close()


class Vandal:
    """A client that says whatever it likes."""

    def __init__(self, wire: WireConfig) -> None:
        self.limits = msgspec.convert(wire, Limits, from_attributes=True)
        self.channel = ClientChannel(
            msgspec.convert(wire, Endpoint, from_attributes=True), self.limits, "vandal"
        )

    def say(self, frames: list) -> None:
        self.channel.send(frames)

    def hello(self, **changes: object) -> None:
        hello = Hello(
            protocol_version=PROTOCOL_VERSION,
            actor_id="vandal",
            session=1,
            role="actor",
            first_sequence=0,
            spec=SPEC,
        )
        self.say(encode(msgspec.structs.replace(hello, **changes), self.limits))

    def hears(self, kind: type) -> object:
        heard: list = []

        def listen() -> bool:
            self.channel.wait(0.05)
            frames = self.channel.receive()
            if frames is not None:
                heard.append(decode_from_learner(frames, self.limits))
            return any(isinstance(message, kind) for message in heard)

        pump_until(listen)
        return heard[-1]


def test_bad_messages_are_counted_and_the_learner_goes_on(
    wire: WireConfig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    with learning(wire) as intake, acting(wire) as uplink:
        vandal = Vandal(wire)
        try:
            for frames in ([b""], [b"\xff" * 100], [b"\x93"] * 70, [b"x" * 70000]):
                vandal.say(frames)
            vandal.hello()
            columns = make_columns(0)
            columns["observation"][3, 0, 2] = np.nan
            vandal.say(encode(Experience(session=1, sequence=0, columns=columns), vandal.limits))
            vandal.say(encode(Experience(session=99, sequence=0, columns=columns), vandal.limits))
            vandal.hello(first_sequence=-(2**63), session=2**63)
            pump_until(lambda: intake.counters().get("refused"), uplink)
            uplink.send(make_columns(0))
            assert episodes(intake.drain(timeout_s=TIMEOUT_S)) == list(range(8))
            counters = intake.counters()
        finally:
            vandal.channel.close()
    assert counters == {
        "bad_header": 2, "over_limit": 2, "bad_experience": 1, "unknown_session": 1, "refused": 1, "rows": 8,
    }  # fmt: skip
    assert "from vandal: observation[3, 0, 2] is nan" in caplog.text


def test_another_protocol_version_is_refused_in_words(wire: WireConfig) -> None:
    with learning(wire):
        vandal = Vandal(wire)
        try:
            vandal.say([msgspec.msgpack.encode([99, {"kind": "hello", "new": True}])])
            refused = vandal.hears(Refused)
        finally:
            vandal.channel.close()
    assert isinstance(refused, Refused)
    says = f"protocol version 99, this side speaks {PROTOCOL_VERSION}: install the same release on both sides"
    assert refused.reason == says
