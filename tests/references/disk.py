"""A disk without space, in this process alone: the kernel refuses to let a file grow beyond a limit."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def small_disk() -> Iterator[Callable[[int], None]]:
    """Gives a function after whose call no file can grow beyond that many bytes; the end gives the space back.

    The end must come inside the test: whoever runs the suite may write its output to a file as well.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
