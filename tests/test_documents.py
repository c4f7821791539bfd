"""What the documents say is so: links, names of files, keys and verbs; cheap commands are run as they stand.

Commands that take long are run by tests/system/test_how_to.py; `SLOW` says which these are.
"""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.keys import configuration_of
from tests.support.documents import (
    ROOT,
    SLOW,
    TESTED_ELSEWHERE,
    Command,
    all_commands,
    anchors,
    command_pages,
    links,
    pages,
)
from tests.support.house import House

FAST = (
    "source .venv/bin/activate",
    "residual-rl --help",
    "source <(residual-rl completion bash)",
    "residual-rl run --print-config",
    "residual-rl monitor",
    "residual-rl runs",
    "residual-rl plot",
    "residual-rl replay",
    "residual-rl viz my-run --all",
    "residual-rl report",
    "residual-rl compare",
    "bash launch/keys.sh",
    "touch",
)


def is_fast(command: Command) -> bool:
    return command.words.startswith(FAST)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """With two runs that are over, and a study's record."""
    house = House(tmp_path_factory.mktemp("documents") / "residual-rl")
    house.add_finished_run("my-run", actor="peg")
    house.add_finished_run("second", actor="hole")
    record = house.folder / "runs" / "study.jsonl"
    record.write_text((ROOT / "docs" / "history" / "study.jsonl").read_text())
    return house


@pytest.mark.parametrize("command", filter(is_fast, all_commands()), ids=str)
def test_a_cheap_command_does_what_the_page_says(command: Command, house: House) -> None:
    done = house.run(command.text)
    assert done.returncode == 0, done.stdout
    for written in re.findall(r"--out (\S+)", command.words):
        assert (house.folder / written).stat().st_size > 0


def test_every_command_is_run_by_a_test() -> None:
    found = all_commands()
    assert len(found) > 40
    missing = [str(c) for c in found if not (is_fast(c) or c.words.startswith((*SLOW, *TESTED_ELSEWHERE)))]
    assert missing == [], "no test runs these: see FAST here, SLOW in tests/support/documents.py"


def test_every_entry_of_the_tables_is_used() -> None:
    found = [command.words for command in all_commands()]
    entries = (*FAST, *SLOW, *TESTED_ELSEWHERE)
    assert [entry for entry in entries if not any(words.startswith(entry) for words in found)] == []
    assert [test for test in TESTED_ELSEWHERE.values() if not (ROOT / test).exists()] == []


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), f"{link} leads nowhere"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{link} leads to no heading"


def of_today() -> list[Path]:
    """Pages that say what is so now."""
    return [page for page in pages() if "history" not in page.parts and page.name != "CHANGELOG.md"]


def test_every_file_and_module_that_is_named_exists() -> None:
    text = "".join(page.read_text() for page in of_today())
    files = set(re.findall(r"`((?:actor|bases|config|docs|launch|learner|protocol|tests)/[\w./-]+)`", text))
    files |= set(re.findall(r"bash (launch/[a-z_]+\.sh)", text))
    made = {"config/task/my_task.yaml", "bases/mine", "bases/mine/evaluated.json"}  # by the reader
    assert len(files) > 80
    assert [name for name in sorted(files - made) if not (ROOT / name).exists()] == []
    modules = set(re.findall(r"python -m ([a-z_.]+)", text))
    assert len(modules) > 8
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_every_key_that_is_named_exists() -> None:
    known = {key.name for key in configuration_of("run").keys}
    code = r"`((?:learner|actor|wire|algo|base|task)\.[a-z_.]+)(?:=[^`]*)?`"
    named = {key for page in of_today() for key in re.findall(code, page.read_text())}
    modules = {name for name in named if (ROOT / name.replace(".", "/")).exists() or is_module(name)}
    assert len(named) > 40
    assert sorted(named - known - modules) == []


def is_module(name: str) -> bool:
    return name.endswith(".py") or (ROOT / f"{name.replace('.', '/')}.py").exists()


def test_every_verb_that_is_named_exists() -> None:
    from launch.cli.group import cli

    text = "".join(page.read_text() for page in of_today())
    verbs = set(re.findall(r"(?m)(?:^|`|\()residual-rl ([a-z][a-z-]+)", text))
    assert verbs <= set(cli.commands), verbs - set(cli.commands)
    assert len(verbs) > 10


def test_no_page_of_today_tells_of_days() -> None:
    for page in of_today():
        assert re.findall(r"\b20\d\d-\d\d-\d\d\b|\b\d\d?:\d\d\b(?! minutes)", page.read_text()) == [], page


def test_pages_with_commands_are_known() -> None:
    assert len(command_pages()) == 29
