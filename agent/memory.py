"""Memory that was freed is there for the next block, instead of going back to the system and coming anew."""

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # Of mallopt(3).
_LARGEST_KEPT_BYTES = 32 * 2**20  # glibc takes no more.
_KEPT_BYTES = 2**30


def keep_freed_memory() -> bool:
    """Let the C library keep up to 1 GB of what this process frees, in blocks of up to 32 MB. For learners and actors.

    By itself glibc gives large blocks back at once. An update of images makes and frees some hundred megabytes, and the
    system takes as long to hand out empty pages as the processor does to compute what is written there; so it is with
    the maps of a policy that sees, and with messages of a megabyte.

    Returns:
        Whether the C library can; only glibc does.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES) and mallopt(_TRIM_THRESHOLD, _KEPT_BYTES))
