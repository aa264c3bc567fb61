"""Jobs that a second thread works off while the main one trains, and the main one helps with."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

__all__ = ["Beside", "Job"]

T = TypeVar("T")


class Job(Generic[T]):
    """Something to do once, by one thread; then `done` is set, and it has its result or error."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = work
        self.done = threading.Event()
        self._result: list[T] = []
        self._error: BaseException | None = None

    def run(self) -> None:
        """Do it here and now."""
        try:
            self._result.append(self._work())
        except BaseException as error:
            self._error = error
        self.done.set()

    def result(self) -> T:
        """What it returned; raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._result[0]


class Beside:
    """A queue of jobs and one thread that takes them in order, which ends with the program.

    A job mostly waits for a simulator, which is a process of its own; so two of them, or one and
    training, fill two cores.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job[Any]] = deque()
        self._more = threading.Condition()
        threading.Thread(target=self._work, daemon=True, name="beside").start()

    def submit(self, work: Callable[[], T]) -> Job[T]:
        """`work` at the end of the queue."""
        job = Job(work)
        with self._more:
            self._jobs.append(job)
            self._more.notify()
        return job

    def result(self, job: Job[T]) -> T:
        """What `job` returned, or it raises what the job raised; until it is done this thread takes
        jobs too."""
        while not job.done.is_set():
            with self._more:
                mine = self._jobs.popleft() if self._jobs else None
            if mine is None:
                job.done.wait()
            else:
                mine.run()
                mine.result()  # an error of any job ends the work of this thread
        return job.result()

    def _work(self) -> None:
        while True:
            with self._more:
                self._more.wait_for(lambda: self._jobs)
                job = self._jobs.popleft()
            job.run()
