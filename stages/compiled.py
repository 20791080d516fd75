"""numba's `njit` as the kernels use it: typed, compiled on first use, cached on disk, without the interpreter lock.

numba finds a stale entry of its disk cache by the file that holds the function, and not by the files that hold what
it calls. Who changes a kernel that kernels of other modules call has to point NUMBA_CACHE_DIR elsewhere.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

from numba import njit

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """`function` in nopython mode; other kernels may call the result."""
    return cast("Callable[P, R]", njit(cache=True, nogil=True)(function))
