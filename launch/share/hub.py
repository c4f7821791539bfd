"""The Hugging Face Hub: who we are there, and its errors in one line."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from config.process import UsageError

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def token() -> str | None:
    """HF_TOKEN of the environment or of a .env file. Nobody prints it or writes it anywhere."""
    from learner.tracking.trackers import load_environment

    load_environment()
    return os.environ.get("HF_TOKEN") or None


def hub() -> "HfApi":
    """The Hub's client, with the token if there is one."""
    from huggingface_hub import HfApi

    return HfApi(token=token() or False)


@contextmanager
def hub_errors(what: str, passing: type[Exception] | tuple[()] = ()) -> Generator[None]:
    """Turn errors of the Hub's client, but `passing`, into UsageError: one line that begins with `what`."""
    from httpx import HTTPError
    from huggingface_hub.errors import HFValidationError

    try:
        yield
    except (HFValidationError, HTTPError, OSError) as error:  # the client's own errors are of these kinds
        if isinstance(error, passing):
            raise
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise UsageError(f"{what}: {lines[0].replace(token() or '', '')}") from error
