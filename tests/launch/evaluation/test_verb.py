"""What `residual-rl evaluate` refuses before it plays."""

from click.testing import CliRunner

from launch.cli.judges import evaluate


def test_a_bar_that_is_no_number_is_refused() -> None:
    result = CliRunner().invoke(evaluate, ["task=pick_cube", "--at-least", "nan"])
    assert result.exit_code == 2 and "--at-least nan is no number" in result.output
