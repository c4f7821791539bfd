"""Laws of the choice: one film of each kind in turn, the most telling first, and what is missing is said."""

from launch.show.film.choice import choose, missing_kinds

# Seed -> (base, full).
PLAYED = {
    1: (True, True),
    2: (False, False),
    3: (True, False),
    4: (False, True),
    5: (False, True),
    6: (True, True),
}
BASE = {seed: base for seed, (base, _) in PLAYED.items()}
FULL = {seed: full for seed, (_, full) in PLAYED.items()}


def seeds(count: int) -> list[tuple[str, int]]:
    return [(choice.kind, choice.seed) for choice in choose(BASE, FULL, count)]


def test_three_films_are_one_of_each_kind_with_the_smallest_seeds() -> None:
    assert seeds(3) == [("corrected", 4), ("success", 1), ("failure", 2)]
    assert seeds(1) == [("corrected", 4)]


def test_more_films_go_on_in_turn_until_all_seeds_are_used_and_a_failure_of_both_comes_first() -> None:
    assert seeds(5) == [("corrected", 4), ("success", 1), ("failure", 2), ("corrected", 5), ("success", 6)]
    assert seeds(99)[5:] == [("failure", 3)]


def test_each_choice_says_why() -> None:
    assert [choice.why for choice in choose(BASE, FULL, 99)] == [
        "the base fails, with the residual it succeeds", "both succeed", "both fail",
        "the base fails, with the residual it succeeds", "both succeed",
        "the base succeeds, with the residual it fails",
    ]  # fmt: skip


def test_only_seeds_that_both_played_count_and_a_kind_without_a_seed_is_said() -> None:
    choices = choose(BASE, {1: True, 6: True, 77: False}, 3)
    assert [(choice.kind, choice.seed) for choice in choices] == [("success", 1), ("success", 6)]
    assert [*missing_kinds(choices, 2, 3)] == [
        "no failure of the base that the residual made a success among 2 seeds",
        "no failure with the residual among 2 seeds",
    ]
    assert [*missing_kinds(choose(BASE, FULL, 1), 6, 1)] == []
    assert choose({}, {}, 3) == []
