"""Is a history of concurrent calls one that calls one after the other could have had?

J. M. Wing and C. Gong, "Testing and Verifying Concurrent Objects" (1993): look for an order of the
calls that keeps those apart of which one ended before the other began, and in which each result is
what the object would have answered. With G. Lowe's memory of what was tried ("Testing for
Linearizability", 2017): the same calls done with the same state come to the same.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

State = TypeVar("State", bound=Hashable)
What = TypeVar("What")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Call(Generic[What, Result]):
    """What somebody asked for, what came of it, and when that was."""

    what: What
    result: Result
    invoked: float
    returned: float


def is_linearizable(
    calls: Sequence[Call[What, Result]],
    state: State,
    step: Callable[[State, What, Result], State | None],
) -> bool:
    """Tell whether an order exists; `step` says what follows of a state, None for no such answer.

    Several orders are tried depth first, without recursion: histories may be long.
    """
    whole = (1 << len(calls)) - 1
    tried: set[tuple[int, State]] = set()
    left: list[tuple[int, State]] = [(0, state)]
    while left:
        done, state = left.pop()
        if done == whole:
            return True
        open_calls = [at for at in range(len(calls)) if not done >> at & 1]
        first_return = min(calls[at].returned for at in open_calls)
        for at in open_calls:
            call = calls[at]
            if call.invoked > first_return:
                continue  # another had ended before it began
            after = step(state, call.what, call.result)
            reached = None if after is None else (done | 1 << at, after)
            if reached is not None and reached not in tried:
                tried.add(reached)
                left.append(reached)
    return False
