"""How the features of a policy are found while it plans."""

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import Tensor

Keep = Callable[[Tensor], None]
"""Is given features (B, E)."""
Hook = Callable[[Any, Keep], AbstractContextManager[None]]
"""For a policy: while the context lasts, each forward pass gives its features, perhaps several times."""


@contextmanager
def replaced_method(owner: Any, name: str, seen: Callable[[dict[str, Any], Any], None]) -> Generator[None]:
    """While it lasts, `seen` is told of the keywords and the result of each call of a method. For methods
    that are called by their name, such as `forward`, which no hook of torch notices."""
    method = getattr(owner, name)

    def told(*arguments: Any, **keywords: Any) -> Any:
        result = method(*arguments, **keywords)
        seen(keywords, result)
        return result

    object.__setattr__(owner, name, told)
    try:
        yield
    finally:
        object.__delattr__(owner, name)
