"""Batches of an import on their way: in order, few at a time, kept until they are durable."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator

from service.cli.batches import Batch

BATCHES_IN_FLIGHT = 8


class Outbox:
    """Hands batches to one stream after another.

    gRPC pulls requests in a thread of its own, and that of a broken stream may still be at it
    when the next one starts; all state is behind one lock, and a stream that is not the current
    one gets nothing more. Only the file is read behind a lock of its own, as a pipe may be quiet
    for hours: what was read belongs to whichever stream is the current one by then.
    """

    def __init__(self, batches: Iterator[Batch]) -> None:
        self.fault: Exception | None = None  # what ended the reading of the file early
        self._batches = batches
        self._waiting: deque[Batch] = deque()  # taken from the file, not yet durable
        self._sent = 0  # how many of those the current stream has sent
        self._read = 0  # the last batch that was taken from the file
        self._at_end = False  # the file was read
        self._stream = 0
        self._answered = False  # the current stream's first response is there
        self._changed = threading.Condition()
        self._reading = threading.Lock()

    def open(self) -> Callable[[], Iterator[Batch]]:
        """Begin a stream: return what yields its batches, those to send again first."""
        with self._changed:
            self._stream += 1
            self._sent = 0
            self._answered = False
            self._changed.notify_all()
            stream = self._stream
        return lambda: self._each(stream)

    def close(self) -> None:
        """Give nothing more to any stream."""
        self.open()

    def acknowledge(self, durable: int) -> list[Batch]:
        """Note that batches up to `durable` are; return those that were waiting for it."""
        with self._changed:
            self._answered = True
            done = []
            while self._waiting and self._waiting[0].number <= durable:
                done.append(self._waiting.popleft())
            self._sent = max(0, self._sent - len(done))
            self._changed.notify_all()
            return done

    def catch_up(self, durable: int) -> Iterator[Batch]:
        """Yield what is durable although nobody told so, one after the other, before `acknowledge`.

        That of a stream that broke, and at first all that an earlier run got through, read from
        the file. Each is kept until the next one is asked for: whoever breaks off is given it
        again.
        """
        while (batch := self._oldest(durable)) is not None:
            yield batch
            with self._changed:
                self._waiting.popleft()

    def _oldest(self, durable: int) -> Batch | None:
        with self._reading:
            if not self._waiting and self._read < durable and not self._at_end:
                self._take_one()
        with self._changed:
            if self._waiting and self._waiting[0].number <= durable:
                return self._waiting[0]
            return None

    @property
    def whole(self) -> bool:
        """The file was read to its end without a fault."""
        with self._changed:
            return self._at_end and self.fault is None

    @property
    def done(self) -> bool:
        """The file was read to its end, and all of it is durable."""
        with self._changed:
            return self._at_end and not self._waiting

    def _each(self, stream: int) -> Iterator[Batch]:
        while (batch := self._next(stream)) is not None:
            yield batch

    def _next(self, stream: int) -> Batch | None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: stream != self._stream or self._may_send())
                if stream != self._stream:
                    return None
                if self._sent < len(self._waiting):
                    self._sent += 1
                    return self._waiting[self._sent - 1]
                if self._at_end:
                    return None
            self._take(stream)

    def _may_send(self) -> bool:
        if not self._answered:
            return False
        return self._sent < len(self._waiting) or len(self._waiting) < BATCHES_IN_FLIGHT

    def _take(self, stream: int) -> None:
        """Take the next batch from the file, if no other stream's thread did so meanwhile."""
        with self._reading:
            with self._changed:
                if stream != self._stream or self._sent < len(self._waiting) or self._at_end:
                    return
            self._take_one()

    def _take_one(self) -> None:
        """Take the next batch from the file; whoever reads it has the lock."""
        try:
            batch = next(self._batches, None)
        except Exception as error:  # noqa: BLE001 - raised again in the main thread
            batch, self.fault = None, error
        with self._changed:
            if batch is None:
                self._at_end = True
            else:
                self._read = batch.number
                self._waiting.append(batch)
            self._changed.notify_all()
