"""The reference pages are those that the YAML files and the command line make."""

import click

from launch.cli.group import cli
from launch.reference import command_line_page, configuration_page, stale_pages


def test_the_pages_are_current() -> None:
    assert stale_pages() == [], "run python -m launch.reference"


def test_every_verb_has_a_section_with_its_help() -> None:
    @click.group()
    def group() -> None:
        """A program."""

    @group.command(epilog="An example.")
    @click.option("--flag", is_flag=True, help="What it does.")
    def verb(flag: bool) -> None:
        """Says what it does."""

    page = command_line_page(group)
    assert "## residual-rl\n" in page and "### residual-rl verb\n" in page
    assert "--flag  What it does." in page and "An example." in page


def test_verbs_that_are_hidden_are_left_out() -> None:
    page = command_line_page(cli)
    assert all(f"### residual-rl {name}\n" in page for name in cli.commands)
    assert "--config" not in page


def test_a_key_is_a_row_with_its_default_and_meaning() -> None:
    page = configuration_page()
    assert "| `seed` | `0` | training seed" in page
    assert "`task=stack_cube`" in page and "&lt;name>" in page
