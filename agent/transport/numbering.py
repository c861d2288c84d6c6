"""Connections whose numbers nobody can guess: who knows the next one can end the process that listens.

A ROUTER of libzmq numbers its connections one after the other, and lets a client give itself a number instead. Where a
client has taken the one that the next connection is to get, libzmq up to 4.3.5 aborts when that comes (`Assertion
failed: ok` in `routing_socket_base_t::add_out_pipe`). It begins at what C's `rand()` says, which nobody seeds: without
this at the same number in every process.
"""

import ctypes
import os


def begin_at_random() -> None:
    """Let the next ROUTER of this process begin with a number that cannot be known."""
    ctypes.CDLL(None).srand(ctypes.c_uint(int.from_bytes(os.urandom(4), "little")))
