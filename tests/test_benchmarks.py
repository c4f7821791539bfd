"""Every benchmark says what it measures, how it is called, and what its last line means."""

import importlib
import json
import pkgutil

import pytest

import benchmarks
from benchmarks.command import print_result

NAMES = sorted(
    module.name for module in pkgutil.iter_modules(benchmarks.__path__) if module.name != "command"
)


@pytest.mark.parametrize("name", NAMES)
def test_help_names_the_sides_the_time_it_takes_and_the_keys_of_the_last_line(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    module = importlib.import_module(f"benchmarks.{name}")
    with pytest.raises(SystemExit) as ended:
        module.main(["--help"])
    said = capsys.readouterr().out
    assert ended.value.code == 0
    assert said.startswith(f"usage: python -m benchmarks.{name}")
    assert "minute" in said and "JSON object" in said
    assert module.__doc__.strip().splitlines()[0] in said
    for key, meaning in module.KEYS.items():
        assert key in said and meaning in said


def test_a_last_line_has_only_keys_that_the_help_names(capsys: pytest.CaptureFixture[str]) -> None:
    print_result({"ours_s": 1, "ratio": 2}, {"*_s": "", "ratio": ""})
    assert json.loads(capsys.readouterr().out) == {"ours_s": 1, "ratio": 2}
    with pytest.raises(KeyError, match="peer"):
        print_result({"peer": 1}, {"ratio": ""})
