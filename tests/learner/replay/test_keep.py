"""Which episodes a dataset gets, and how many were played."""

import json
from pathlib import Path

from learner.replay.dataset.assembler import EpisodeAssembler
from learner.replay.dataset.episode import Episode
from learner.replay.dataset.keep import CollectionLimits, Keep, Played
from learner.replay.dataset.writer import LeRobotWriter
from tests.support.identifiable import make_stream, pack
from tests.support.recorder import LENGTHS, Recorder

# As in `identifiable`: the last frame of episode n of so many frames.
SUCCEEDED = [(length - 1) % 3 == number % 3 for number, length in enumerate(LENGTHS)]


def ended() -> list[Episode]:
    """Twelve episodes, of which some succeed."""
    assembler = EpisodeAssembler()
    return assembler.add("peg", 7, [(pack(make_stream("peg", 0, LENGTHS, sub_envs=1)[1]), 0)])


def test_a_number_of_episodes_ends_a_collection_and_the_rest_is_not_kept() -> None:
    keep = Keep(CollectionLimits(episodes=5))
    assert [episode.number for episode in keep.choose(ended())] == [0, 1, 2, 3, 4]
    assert keep.full and keep.played == Played(5, sum(SUCCEEDED[:5]))


def test_a_number_of_successes_ends_a_collection_of_all_episodes_until_then() -> None:
    last = [number for number, success in enumerate(SUCCEEDED) if success][1]
    keep = Keep(CollectionLimits(successes=2))
    assert [episode.number for episode in keep.choose(ended())] == [*range(last + 1)]
    assert keep.full and keep.played == Played(last + 1, 2)


def test_successes_alone_are_kept_and_failures_are_counted() -> None:
    keep = Keep(CollectionLimits(episodes=8, successes_alone=True))
    kept = [episode.number for episode in keep.choose(ended())]
    assert kept == [number for number in range(8) if SUCCEEDED[number]]
    assert keep.played == Played(8, len(kept))


def test_an_episode_whose_actor_left_neither_counts_nor_is_kept_where_whole_ones_are_wanted() -> None:
    assembler = EpisodeAssembler()
    rows = make_stream("peg", 0, [9], sub_envs=1)[1]
    assembler.add("peg", 7, [(pack(rows[:-1]), 0)])
    [cut] = assembler.end_session("peg", 7)
    keep = Keep(CollectionLimits(episodes=1, whole_alone=True))
    assert keep.choose([cut]) == [] and keep.played == Played() and not keep.full
    assert Keep(CollectionLimits()).choose([cut]) == [cut]


def test_a_writer_goes_on_counting_and_knows_what_was_left_out(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "replay", None)
    keep = Keep(CollectionLimits(successes_alone=True))
    recorder.writer = LeRobotWriter(recorder.folder, recorder.writer.spec, keep=keep)
    for truth in recorder.truths:
        recorder.commit(truth)
    content = json.loads((recorder.folder / "meta/residual_rl.json").read_text())
    assert content["played"] == [len(LENGTHS), sum(SUCCEEDED)]
    assert content["settled"] == [["peg", 7, 0, len(LENGTHS)]]
    again = Keep(CollectionLimits())
    writer = LeRobotWriter(recorder.folder, recorder.writer.spec, keep=again)
    assert again.played == Played(len(LENGTHS), sum(SUCCEEDED))
    assert writer.committed.episodes == sum(SUCCEEDED)
    assert writer.committed.episodes_done == {("peg", 7, 0): len(LENGTHS)}
