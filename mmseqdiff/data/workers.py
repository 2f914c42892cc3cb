"""Who does the work: this process, several processes, or a Ray cluster. The answers are the same, in the same order.

A crew is opened for one function and gives a ``map``: it takes jobs one by one as there is room for them, at most two a
worker lie between the job last taken and the answer last given, and the answers come in the order of the jobs. So what
reads them needs bounded memory and cannot tell who worked. A worker has one thread: how numbers are summed depends on the
number of threads, and must not depend on the number of workers.
"""

import logging
import multiprocessing
import os
import pickle
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from itertools import cycle
from typing import Any, Protocol, runtime_checkable

import attrs
import torch

from mmseqdiff.errors import RunError, UserError

__all__ = ["Crew", "Here", "Processes", "Ray"]

Map = Callable[[Iterable[Any]], Iterator[Any]]
"""Jobs in, answers out, in the order of the jobs."""

_LOST = "a worker died: it was killed, or ran out of memory. What was finished is kept; run the same again to go on"


@runtime_checkable
class Crew(Protocol):
    """Those who do the work."""

    def at(self, work: Callable[[Any], Any]) -> AbstractContextManager[Map]:
        """Takes up work: a function from a job to its answer, which every worker gets a copy of.

        Raises:
            UserError: if the work cannot be sent to another process.
            RunError: from the map, if a worker dies.
        """
        ...


@attrs.frozen
class Here:
    """This process, one job after the other, with as many threads as torch has."""

    @contextmanager
    def at(self, work: Callable[[Any], Any]) -> Iterator[Map]:
        """See :class:`Crew`."""
        yield partial(map, work)


@attrs.frozen
class Processes:
    """Processes on this machine; a script that uses them needs ``if __name__ == "__main__":``.

    Attributes:
        count: how many.

    Raises:
        ValueError: if there is none.
    """

    count: int = attrs.field(validator=attrs.validators.ge(1))

    @contextmanager
    def at(self, work: Callable[[Any], Any]) -> Iterator[Map]:
        """See :class:`Crew`."""
        start = (_start_process, (_packed(work),))
        pool = ProcessPoolExecutor(self.count, multiprocessing.get_context("spawn"), *start)
        try:
            yield partial(_in_order, partial(pool.submit, _do), Future.result, 2 * self.count, BrokenProcessPool)
        finally:
            pool.shutdown(cancel_futures=True)


@attrs.frozen
class Ray:
    """Actors on a Ray cluster: the one at ``address``, else at RAY_ADDRESS, else one that is started on this machine.

    What the work reads must be found under the same path on every machine, and mmseqdiff with its plugins be installed.

    Attributes:
        count: how many; None takes as many as the cluster has processors, or GPUs where ``gpus`` are asked for.
        address: of a running cluster.
        gpus: how many each of them needs.

    Raises:
        ValueError: if there is none.
    """

    count: int | None = attrs.field(default=None, validator=attrs.validators.optional(attrs.validators.ge(1)))
    address: str | None = None
    gpus: int = 0

    @contextmanager
    def at(self, work: Callable[[Any], Any]) -> Iterator[Map]:
        """See :class:`Crew`.

        Raises:
            UserError: if Ray is not installed, or its cluster does not answer or is too small.
        """
        try:
            import ray
        except ImportError:
            raise UserError("Ray is not installed: `pip install 'mmseqdiff[ray]'`") from None
        joined = ray.is_initialized()
        if not joined:
            self._join(ray)
        try:
            count = self._count(ray.cluster_resources())
            actor, given = ray.remote(num_cpus=1, num_gpus=self.gpus)(_Actor), ray.put(_packed(work))
            turns = cycle([actor.remote(given) for _ in range(count)])

            def answer(reference: Any) -> Any:
                try:
                    return ray.get(reference)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None

            died = ray.exceptions.RayActorError
            yield partial(_in_order, lambda job: next(turns).do.remote(job), answer, 2 * count, died)
        finally:
            if not joined:
                ray.shutdown()

    def _count(self, resources: Mapping[str, float]) -> int:
        """How many workers; Ray itself would wait for ever, without a word, for more than can be placed."""
        kind = "GPU" if self.gpus else "CPU"
        there, each = int(resources.get(kind, 0)), max(self.gpus, 1)
        count = self.count or there // each
        if not 0 < count * each <= there:
            raise UserError(
                f"the Ray cluster has {kind}s: {there}; {max(count, 1)} workers need {max(count, 1) * each}"
            )
        return count

    def _join(self, ray: Any) -> None:
        address = self.address or os.environ.get("RAY_ADDRESS")
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        try:
            if address:
                _knock(address)
                ray.init(address, **quiet)
            else:
                ray.init("local", num_cpus=self.count, include_dashboard=False, **quiet)
        except Exception as error:  # Ray raises whatever it likes, Exception itself included
            raise UserError(f"the Ray cluster at {address or 'this machine'} does not answer: {error}") from None


def _knock(address: str) -> None:
    """Ray itself waits for minutes where nobody listens. Raises OSError at once."""
    host, _, port = address.rpartition(":")
    if port.isdigit() and "/" not in host:
        socket.create_connection((host, int(port)), timeout=10).close()


def _in_order(
    submit: Callable[[Any], Any],
    answer: Callable[[Any], Any],
    ahead: int,
    death: type[Exception],
    jobs: Iterable[Any],
) -> Iterator[Any]:
    """Answers in the order of the jobs, of which at most ``ahead`` are under way."""
    under_way = deque()
    try:
        for job in jobs:
            under_way.append(submit(job))
            if len(under_way) == ahead:
                yield answer(under_way.popleft())
        while under_way:
            yield answer(under_way.popleft())
    except death:
        raise RunError(_LOST) from None


def _packed(work: Callable[[Any], Any]) -> bytes:
    """The work as plain bytes: left to itself torch would put weights into shared memory, of which a container has little."""
    try:
        return pickle.dumps(work)
    except Exception as error:  # what a codec of a plugin raises here is its own choice
        raise UserError(f"this cannot be sent to another process, so do it in this one: {error}") from error


_work: Callable[[Any], Any]
"""What this worker process does."""


def _start_process(work: bytes) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the first one ends the others
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    _work = pickle.loads(work)


def _end_with_parent() -> None:
    """A killed parent closes nothing, and its children would wait for jobs for ever."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _do(job: Any) -> Any:
    return _work(job)


class _Actor:
    """A worker of Ray's."""

    def __init__(self, work: bytes) -> None:
        torch.set_num_threads(1)
        self.work = pickle.loads(work)

    def do(self, job: Any) -> Any:
        return self.work(job)
