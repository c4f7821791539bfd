"""What every process does first: its lines say what is a warning."""

import re
import subprocess
import sys
from pathlib import Path

CODE = """
import logging
from config.process import TIMED, set_up_logging
set_up_logging(TIMED)
logging.info("a report")
logging.warning("a %s", "warning")
logging.error("an error")
"""


def test_warnings_and_errors_are_named_and_go_to_standard_error(repository: Path) -> None:
    said = subprocess.run([sys.executable, "-c", CODE], cwd=repository, capture_output=True, text=True)
    assert re.fullmatch(r"\d\d:\d\d:\d\d a report\n", said.stdout)
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning: a warning\n\d\d:\d\d:\d\d error: an error\n", said.stderr)
