import select
import threading

from agent.transport.waker import Waker


def readable(waker: Waker, timeout_s: float = 0.0) -> bool:
    return bool(select.select([waker], [], [], timeout_s)[0])


def test_awake_until_cleared():
    waker = Waker()
    assert not readable(waker)
    waker.wake()
    waker.wake()
    assert readable(waker)
    waker.clear()
    assert not readable(waker)
    waker.wake()
    assert readable(waker)
    waker.close()


def test_no_work_is_overlooked():
    waker = Waker()
    work: list[int] = []
    done: list[int] = []

    def worker() -> None:
        while len(done) < 20_000:
            assert readable(waker, 10.0), "slept while there was work"
            waker.clear()
            while work:
                done.append(work.pop())

    thread = threading.Thread(target=worker)
    thread.start()
    for number in range(20_000):
        work.append(number)
        waker.wake()
    thread.join(20.0)
    assert sorted(done) == list(range(20_000))
    waker.close()
