"""Batches of an import on their way."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from namesake import v1
from service.cli.batches import Batch
from service.cli.outbox import BATCHES_IN_FLIGHT, Outbox
from service.errors import InvalidArgument
from service.transfer.files import Record


def _batches(count: int) -> Iterator[Batch]:
    for number in range(1, count + 1):
        yield Batch(number, number, 1, 0, v1.ImportCustomersRequest, lambda _: Record(1, ("x",)))


def _numbers(batches: Iterator[Batch], count: int) -> list[int]:
    return [next(batches).number for _ in range(count)]


def test_nothing_is_sent_before_the_server_says_where_the_job_stands() -> None:
    outbox = Outbox(_batches(3))
    sent: list[int] = []
    batches = outbox.open()
    sender = threading.Thread(target=lambda: sent.extend(b.number for b in batches()))
    sender.start()
    assert sent == []
    outbox.acknowledge(0)
    sender.join(10)
    assert sent == [1, 2, 3]
    assert not outbox.done


def test_few_are_on_their_way_at_a_time() -> None:
    outbox = Outbox(_batches(100))
    batches = outbox.open()()
    outbox.acknowledge(0)
    assert _numbers(batches, BATCHES_IN_FLIGHT) == list(range(1, BATCHES_IN_FLIGHT + 1))
    more: list[int] = []
    waiting = threading.Thread(target=lambda: more.append(next(batches).number))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    assert [batch.number for batch in outbox.acknowledge(1)] == [1]
    waiting.join(10)
    assert more == [BATCHES_IN_FLIGHT + 1]


def test_a_new_stream_sends_again_what_is_not_durable_and_the_old_one_nothing() -> None:
    outbox = Outbox(_batches(6))
    old = outbox.open()()
    outbox.acknowledge(0)
    assert _numbers(old, 4) == [1, 2, 3, 4]
    outbox.acknowledge(1)
    new = outbox.open()()
    assert list(old) == []
    # The second batch became durable although its acknowledgement was lost.
    assert [batch.number for batch in outbox.acknowledge(2)] == [2]
    assert [batch.number for batch in new] == [3, 4, 5, 6]
    outbox.acknowledge(6)
    assert outbox.done


class _Pipe:
    """Batches of a file that is a pipe: the first is there, the others come when told."""

    def __init__(self, count: int) -> None:
        self.asked = threading.Event()
        self._more = threading.Event()
        self._batches = _batches(count)

    def __iter__(self) -> Iterator[Batch]:
        yield next(self._batches)
        self.asked.set()
        self._more.wait(10)
        yield from self._batches

    def write(self) -> None:
        self._more.set()


def _in_thread(batches: Iterator[Batch]) -> tuple[threading.Thread, list[int]]:
    taken: list[int] = []
    thread = threading.Thread(target=lambda: taken.extend(b.number for b in batches), daemon=True)
    thread.start()
    return thread, taken


def test_an_outbox_is_closed_and_hears_of_durable_batches_while_the_file_is_quiet() -> None:
    pipe = _Pipe(2)
    outbox = Outbox(iter(pipe))
    batches = outbox.open()()
    outbox.acknowledge(0)
    sender, sent = _in_thread(batches)
    assert pipe.asked.wait(10)
    done: list[Batch] = []

    def main() -> None:
        done.extend(outbox.acknowledge(1))
        assert not outbox.done  # more may come
        outbox.close()

    other = threading.Thread(target=main, daemon=True)
    other.start()
    other.join(5)
    assert not other.is_alive()
    assert [batch.number for batch in done] == [1]
    pipe.write()
    sender.join(10)
    assert sent == [1]


def test_what_a_broken_streams_thread_still_read_goes_to_the_next_stream() -> None:
    pipe = _Pipe(4)
    outbox = Outbox(iter(pipe))
    batches = outbox.open()()
    outbox.acknowledge(0)
    old, old_sent = _in_thread(batches)
    assert pipe.asked.wait(10)
    batches = outbox.open()()
    outbox.acknowledge(1)
    new, new_sent = _in_thread(batches)
    pipe.write()
    old.join(10)
    new.join(10)
    assert (old_sent, new_sent) == ([1], [2, 3, 4])
    outbox.acknowledge(4)
    assert outbox.done


def test_a_job_that_is_resumed_by_another_process_skips_what_is_durable() -> None:
    outbox = Outbox(_batches(6))
    batches = outbox.open()()
    assert [batch.number for batch in outbox.catch_up(4)] == [1, 2, 3, 4]
    outbox.acknowledge(4)
    assert [batch.number for batch in batches] == [5, 6]


def test_whoever_breaks_off_while_catching_up_is_given_the_same_batch_again() -> None:
    outbox = Outbox(_batches(6))
    outbox.open()
    broken = outbox.catch_up(3)
    assert _numbers(broken, 2) == [1, 2]
    batches = outbox.open()()
    # Meanwhile more became durable; what was sent and not acknowledged comes before the file.
    assert [batch.number for batch in outbox.catch_up(4)] == [2, 3, 4]
    outbox.acknowledge(4)
    assert next(batches).number == 5
    again = outbox.open()()
    assert [batch.number for batch in outbox.catch_up(5)] == [5]
    outbox.acknowledge(5)
    assert [batch.number for batch in again] == [6]
    assert outbox.whole


def test_a_job_that_is_further_than_the_file_ends_with_it() -> None:
    outbox = Outbox(_batches(2))
    batches = outbox.open()()
    assert [batch.number for batch in outbox.catch_up(9)] == [1, 2]
    outbox.acknowledge(9)
    assert list(batches) == []
    assert outbox.done


def test_a_fault_in_the_file_ends_the_stream_after_what_was_read() -> None:
    def broken() -> Iterator[Batch]:
        yield from _batches(2)
        raise InvalidArgument("Line 3")

    outbox = Outbox(broken())
    batches = outbox.open()()
    outbox.acknowledge(0)
    assert [batch.number for batch in batches] == [1, 2]
    assert isinstance(outbox.fault, InvalidArgument)
    assert not outbox.whole
