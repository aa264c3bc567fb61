"""Jobs beside the main thread: every one done once, in two threads, errors to the one who asks."""

import threading

import pytest
from waiting_kit import PATIENCE_S

from dpnet.sim.measure.beside import Beside


def test_each_job_is_done_once_and_by_both_threads():
    beside, done, both = Beside(), [], threading.Barrier(2)

    def work(n):
        both.wait(PATIENCE_S)  # only two at once get past this
        done.append((n, threading.current_thread().name))
        return n * n

    jobs = [beside.submit(lambda n=n: work(n)) for n in range(6)]
    assert [beside.result(job) for job in jobs] == [n * n for n in range(6)]
    assert [beside.result(job) for job in jobs] == [n * n for n in range(6)]
    assert sorted(n for n, _ in done) == list(range(6))
    assert {name for _, name in done} == {"beside", "MainThread"}


def test_a_job_begins_while_the_main_thread_does_something_else():
    beside, begun = Beside(), threading.Event()
    beside.submit(begun.set)
    assert begun.wait(PATIENCE_S)


def test_an_error_comes_to_the_one_who_asks():
    beside, begun, held = Beside(), threading.Event(), threading.Event()

    def wait():
        begun.set()
        return held.wait(PATIENCE_S)

    def fail():
        raise ValueError("no board")

    waiting = beside.submit(wait)
    assert begun.wait(PATIENCE_S)
    failing = beside.submit(fail)
    last = beside.submit(lambda: "after it")
    with pytest.raises(ValueError, match="no board"):
        beside.result(last)  # the other thread is busy, so this one comes to what fails
    with pytest.raises(ValueError, match="no board"):
        beside.result(failing)
    held.set()
    assert beside.result(waiting) is True
    assert beside.result(last) == "after it"
