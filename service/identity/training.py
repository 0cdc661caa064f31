"""The account's matching model: learnt from its customers, shown, set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from tempfile import TemporaryFile
from typing import NamedTuple

from service.core.match import Model
from service.errors import InvalidArgument, NotFound
from service.identity.child import default_model, parts, run_apart
from service.identity.operations import Done, Operation, Operations, Progress
from service.index import Decision, Index, Mutation, PutModel, Reads, View
from service.settings import Settings

KIND = "train"


class Label(NamedTuple):
    """Two customers, by id, of whom somebody knows whether they are the same."""

    left: str
    right: str
    same: bool


@dataclass(frozen=True, slots=True)
class AccountModel:
    """The model that an account matches with. Of the defaults nobody is the author."""

    text: str
    is_default: bool
    actor: str = ""
    time_us: int = 0


_Rows = list[tuple[int, int, bool]]


class Trainings:
    """Learns and sets the model of one account."""

    def __init__(self, index: Index, operations: Operations, settings: Settings) -> None:
        self._index = index
        self._operations = operations
        self._settings = settings

    async def start(self, labels: Sequence[Label], actor: str, *, dry_run: bool) -> Operation:
        """Begin to learn from all customers, and from labelled pairs where there are some.

        A dry run learns, and leaves the model that is in use. Raises InvalidArgument and NotFound
        of a label, with its place, and LimitExceeded.
        """
        if len(labels) > self._settings.labels_limit:
            limit = self._settings.labels_limit
            raise InvalidArgument(f"{len(labels)} pairs, at most {limit} are taken", field="labels")
        with self._index.snapshot() as snapshot:
            rows = _rows_of(snapshot, labels)
        return await self._operations.start(
            KIND, {"labels": len(labels), "dry_run": dry_run}, actor, partial(self._work, rows)
        )

    async def _work(self, labels: _Rows, operation: Operation, progress: Progress) -> Done:
        with TemporaryFile(dir=self._index.folder) as scratch:
            result = await run_apart(
                KIND, {"labels": labels}, self._index.folder, self._settings, scratch,
                lambda said: progress.tell(said["step"], said["share"], **said["counts"]),
            )  # fmt: skip
            text, frequencies = parts(scratch)
        in_use = not operation.parameters["dry_run"]
        put = PutModel(text.decode(), frequencies, operation.actor)
        return Done(
            {**result, "in_use": in_use, "model": text.decode()},
            partial(_writes, (put,) if in_use else ()),
        )

    async def set(self, text: str, actor: str) -> None:
        """Match with a model from now on, "" for the defaults; raise InvalidArgument."""
        limit = self._settings.model_limit_chars
        if len(text) > limit:
            raise InvalidArgument(f"a model has at most {limit} characters", field="model")
        if text:
            try:
                text = Model.from_json(text).to_json()
            except InvalidArgument as error:
                raise InvalidArgument(error.message, field="model") from None
        (outcome,) = await self._index.submit([partial(_decide_set, text, actor)])
        if isinstance(outcome, Exception):
            raise outcome

    def get(self) -> AccountModel:
        """Return the model in use."""
        with self._index.snapshot() as snapshot:
            stored = snapshot.model()
            customers = snapshot.customer_count
        if stored is None or not stored.text:
            return AccountModel(default_model(customers).to_json(), is_default=True)
        return AccountModel(stored.text, False, stored.actor, stored.time_us)


def _rows_of(reads: Reads, labels: Sequence[Label]) -> _Rows:
    """Return the labelled pairs by rows, lower first; raise InvalidArgument or NotFound."""
    judged: dict[tuple[int, int], bool] = {}
    for number, label in enumerate(labels):
        rows = []
        for side, id in (("left", label.left), ("right", label.right)):
            row = reads.find(id).row
            if not row:
                field = f"labels[{number}].{side}"
                raise NotFound("there is no customer with this id", field=field)
            rows.append(row)
        low, high = sorted(rows)
        if low == high:
            raise InvalidArgument("both are one customer", field=f"labels[{number}]")
        if judged.setdefault((low, high), label.same) != label.same:
            raise InvalidArgument("contradicts a label before it", field=f"labels[{number}]")
    return [(low, high, same) for (low, high), same in judged.items()]


def _writes(mutations: Sequence[Mutation], _view: View) -> Sequence[Mutation]:
    return mutations


def _decide_set(text: str, actor: str, view: View) -> Decision[None]:
    # How often a value occurs is a fact of the account, whatever the model; the defaults need none.
    frequencies = view.frequencies() if text else b""
    return Decision(None, (PutModel(text, frequencies, actor),))
