"""numba's `njit` as the kernels use it: typed, compiled on first use, cached on disk, without the interpreter lock.

numba finds a stale entry of its disk cache by the file that holds the function, and not by the files that hold what
it calls, and it keeps an entry for each folder that a file lies in. `pipeline` names a folder for the cache by the
source of all kernels (NUMBA_CACHE_DIR) and has `Locator` find it (NUMBA_CACHE_LOCATOR_CLASSES), wherever the code lies.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from numba import config, njit
from numba.core.caching import UserProvidedCacheLocator

P = ParamSpec("P")
R = TypeVar("R")


class Locator(UserProvidedCacheLocator):  # type: ignore[misc]
    """Finds what the same source has compiled elsewhere: a clone, a wheel, or code that was shipped to a node."""

    def __init__(self, function: Any, file: str) -> None:
        super().__init__(function, file)
        self._cache_path = str(Path(config.CACHE_DIR) / Path(file).parent.name)


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` in nopython mode; other kernels may call the result."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True)(function))
