"""A terminal read key by key in a real pseudo-terminal, and given back as it was."""

import itertools
import os
import pty
import signal
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.config import InputError
from robot_env.devices.terminal import Terminal, TerminalState
from robot_env.robot import RobotUnavailableError

NAMED = {
    b"a": "a", b"W": "w", b" ": "space", b"\r": "enter", b"\x7f": "backspace", b"\x1b[A": "up", b"\x1bOB": "down",
    b"\x1b[C": "right", b"\x1b[D": "left", b"\x1b[3~": "delete", b"\t": "tab", "ä".encode(): "ä",
}  # fmt: skip


class Pair:
    """Both ends of a pseudo-terminal."""

    def __init__(self):
        self.person, self._program = pty.openpty()
        self.path = os.ttyname(self._program)

    def attributes(self):
        return termios.tcgetattr(self._program)

    def type(self, data):
        os.write(self.person, data)

    def hang_up(self):
        for end in (self.person, self._program):
            if end is not None:
                os.close(end)
        self.person = self._program = None

    def close(self):
        if self.person is not None:
            self.hang_up()


@pytest.fixture
def pair():
    pair = Pair()
    yield pair
    pair.close()


@pytest.fixture
def terminal(pair):
    terminal = Terminal(pair.path)
    terminal.open()
    yield terminal
    terminal.close()


@pytest.fixture(scope="module")
def shared():
    """A terminal for which no time passes."""
    pair = Pair()
    terminal = Terminal(pair.path, lambda: 0.0)
    terminal.open()
    yield pair, terminal
    terminal.close()
    pair.close()


@pytest.fixture(scope="session")
def read_keys(wait_until):
    """What comes until `count` keys have come: a pseudo-terminal delivers a moment later."""

    def read(terminal, count):
        names = []
        wait_until(lambda: names.extend(terminal.read()) or len(names) >= count)
        return names

    return read


@given(
    st.lists(st.sampled_from(sorted(NAMED)), max_size=30), st.lists(st.integers(1, 9), min_size=1, max_size=9)
)
def test_keys_have_names_however_their_bytes_arrive(shared, read_keys, keys, sizes):
    pair, terminal = shared
    data, names = b"".join(keys), []
    for size in itertools.cycle(sizes):
        if not data:
            break
        pair.type(data[:size])
        data = data[size:]
        names += terminal.read()
    assert names + read_keys(terminal, len(keys) - len(names)) == [NAMED[key] for key in keys]


def test_escape_alone_is_a_key_once_nothing_follows(pair, stopwatch, read_keys):
    terminal = Terminal(pair.path, stopwatch)
    terminal.open()
    pair.type(b"x\x1b")
    assert read_keys(terminal, 1) == ["x"]
    assert terminal.read() == []
    stopwatch.now_s += 1.0
    assert terminal.read() == ["escape"]
    terminal.close()


def test_keys_without_a_name_are_passed_over_whole(pair, terminal, read_keys):
    pair.type(b"\x1b[200~x\x1b[1;5Cy\x01\x1bOPz")
    assert read_keys(terminal, 3) == ["x", "y", "z"]


def test_nothing_is_echoed_and_nothing_waited_for_and_all_is_restored(pair):
    before = pair.attributes()
    terminal = Terminal(pair.path)
    for _ in range(2):
        terminal.open()
        terminal.open()
        assert terminal.read() == []
        mode = pair.attributes()
        assert not mode[3] & (termios.ECHO | termios.ICANON)
        assert mode[3] & termios.ISIG
        assert mode[6][termios.VSUSP] == b"\0"
        terminal.close()
        terminal.close()
        assert pair.attributes() == before


def test_a_closed_or_hung_up_terminal_is_gone(pair, terminal):
    pair.hang_up()
    with pytest.raises(RobotUnavailableError, match="terminal is gone"):
        terminal.read()
    terminal.close()
    with pytest.raises(RobotUnavailableError, match="was closed"):
        terminal.read()


def test_no_terminal_is_one_sentence(tmp_path, monkeypatch):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match="which is no terminal"):
        Terminal(str(file)).open()
    with pytest.raises(InputError, match="No such file"):
        Terminal(str(tmp_path / "absent")).open()
    monkeypatch.delenv("JOURNEYMAN_TERMINAL", raising=False)
    monkeypatch.setattr(sys, "stdin", file.open())
    with pytest.raises(InputError, match="standard input is no terminal"):
        Terminal().open()


def test_the_supervisor_hands_on_its_terminal(pair, monkeypatch, read_keys):
    monkeypatch.setenv("JOURNEYMAN_TERMINAL", pair.path)
    terminal = Terminal()
    terminal.open()
    pair.type(b"k")
    assert read_keys(terminal, 1) == ["k"]
    terminal.close()


# As in a terminal: a test run in the background of a script passes on that Ctrl-C is to be ignored.
LISTENER = """
import signal, sys, time
from robot_env.devices.terminal import Terminal
signal.signal(signal.SIGINT, signal.default_int_handler)
Terminal(sys.argv[1]).open()
print("listening", flush=True)
{then}
"""


@pytest.mark.parametrize(
    ("then", "number", "status"),
    [
        ("time.sleep(60)", signal.SIGTERM, -signal.SIGTERM),
        ("time.sleep(60)", signal.SIGINT, None),
        ("raise RuntimeError", None, 1),
        ("sys.exit(3)", None, 3),
    ],
)
def test_the_terminal_is_restored_however_the_program_ends(pair, run_process, then, number, status):
    before = pair.attributes()
    with run_process(
        "-c", LISTENER.format(then=then), pair.path, ready="listening", stderr=subprocess.PIPE
    ) as process:
        if number is not None:
            assert pair.attributes() != before
            process.send_signal(number)
        code = process.wait()
    assert code != 0
    assert status is None or code == status
    assert pair.attributes() == before


def test_a_killed_listener_leaves_it_to_the_supervisor(pair, run_process):
    before = pair.attributes()
    state = TerminalState(pair.path)
    with run_process("-c", LISTENER.format(then="time.sleep(60)"), pair.path, ready="listening") as process:
        process.kill()
        process.wait()
    assert pair.attributes() != before
    state.restore()
    assert pair.attributes() == before
    TerminalState(None).restore()
    pair.hang_up()
    state.restore()
