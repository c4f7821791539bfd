"""The command line that all benchmarks share: --help, and one JSON object as the last line."""

import argparse
import json
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase


def make_parser(name: str, about: str | None, keys: Mapping[str, str]) -> argparse.ArgumentParser:
    """A parser whose help says what is measured and what the last line means.

    Args:
        about: the module's docstring: what is measured, the sides, how long it takes.
        keys: of the last line's object, and what each means; `*` stands for the rest of a name.
    """
    width = max(map(len, keys))
    shown = "\n".join(f"  {key:<{width}}  {meaning}" for key, meaning in keys.items())
    return argparse.ArgumentParser(
        prog=f"python -m {name}",
        description=about,
        epilog=f"The last line is one JSON object:\n{shown}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def print_result(result: Mapping[str, object], keys: Mapping[str, str]) -> None:
    """The last line. Raises KeyError: a key that the help does not name."""
    for key in result:
        if not any(fnmatchcase(key, known) for known in keys):
            raise KeyError(f"{key} is not in the benchmark's KEYS")
    sys.stdout.write(json.dumps(result) + "\n")
