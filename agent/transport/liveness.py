"""Dead connections are found by the kernel, silent peers by our own messages; libzmq's heartbeats stay off.

In libzmq up to 4.3.5 a heartbeat that falls due on a connection that was lost while its inbox was full ends the whole
process (`Assertion failed: !_io_error`; zeromq/libzmq issues 3937 and 4364). An inbox is full whenever the thread that
reads it is held up: by a slow disk, or because the process was frozen. The same end has a process that is sent
heartbeats of libzmq, which it must answer: ours send none.
"""

import zmq

_IDLE_S, _EVERY_S, _PROBES = 2, 1, 3
_UNANSWERED_MS = 5000
_CONNECT_MS = 3000


def find_dead_connections(socket: zmq.Socket[bytes]) -> None:
    """Give up connections whose other side has not answered for about 5 s; the client then connects anew.

    A process that is frozen or busy is not dead: its kernel answers. Without meaning for `ipc`, where the kernel knows.
    """
    socket.tcp_keepalive = 1
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl = _IDLE_S, _EVERY_S
    socket.tcp_keepalive_cnt = _PROBES
    socket.tcp_maxrt = _UNANSWERED_MS  # Keep-alive says nothing while data are under way.
    socket.connect_timeout = _CONNECT_MS  # Linux would wait twice as long after each attempt.
