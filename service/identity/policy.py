"""The account's rules for merging by itself; `machine` follows them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from functools import partial

from service.errors import FormatMismatch, InvalidArgument, StorageFault
from service.index import Decision, Index, PutOperation, Reads, View

_KEY = "merge-policy"  # in the table of operations, whose own names begin otherwise
_VERSION = b"\x01"


@dataclass(frozen=True, slots=True)
class Policy:
    """When the account merges by itself. Off unless somebody says so."""

    on_save: bool = False
    on_import: bool = False
    on_scan: bool = False
    least_probability: float = 0.999
    group_limit: int = 5
    merges_a_minute: int = 100

    def checked(self) -> Policy:
        """Return it with defaults for what is 0; raise InvalidArgument."""
        usual = Policy()
        policy = replace(
            self,
            least_probability=self.least_probability or usual.least_probability,
            group_limit=self.group_limit or usual.group_limit,
            merges_a_minute=self.merges_a_minute or usual.merges_a_minute,
        )
        for name, low, high in (
            ("least_probability", 0.5, 1.0),
            ("group_limit", 2, 100),
            ("merges_a_minute", 1, 10_000),
        ):
            if not low <= getattr(policy, name) <= high:
                raise InvalidArgument(f"{low} to {high}", field=f"policy.{name}")
        return policy


def policy_of(reads: Reads) -> Policy:
    """Return the policy in force."""
    stored = reads.operation(_KEY)
    if stored is None:
        return Policy()
    if stored[:1] != _VERSION:
        raise FormatMismatch("The merge policy was stored by another release: run that one")
    try:
        return Policy(**json.loads(stored[1:]))
    except (ValueError, TypeError) as error:
        raise StorageFault("A value of operations is damaged") from error


async def set_policy(index: Index, policy: Policy) -> Policy:
    """Put a policy in force; return it with its defaults."""
    checked = policy.checked()
    put = PutOperation(_KEY, _VERSION + json.dumps(asdict(checked)).encode())
    (outcome,) = await index.submit([partial(_decide, put)])
    if isinstance(outcome, Exception):
        raise outcome
    return checked


def _decide(put: PutOperation, _view: View) -> Decision[None]:
    return Decision(None, (put,))
