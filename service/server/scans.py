"""The methods of DuplicateService that look at a whole account: scans, their groups, the model."""

from __future__ import annotations

from typing import Any, cast

from namesake import v1
from service.errors import InvalidArgument
from service.identity.scans import Group, chosen, groups, still_together
from service.identity.training import Label
from service.server import wire
from service.server.edge import Context, caller
from service.server.operations import operation_message
from service.server.pace import Pace
from service.server.pages import Listing, decode_token, encode_token, page_rows
from service.settings import Settings

_PAIR = 2  # members without which there is no group


class ScanMethods:
    """A part of DuplicateService: see duplicate_service.proto."""

    _settings: Settings

    async def ScanDuplicates(  # noqa: N802
        self, request: v1.ScanDuplicatesRequest, context: Context
    ) -> Any:
        """Begin to group all customers."""
        scans = caller().account.scans
        return operation_message(await scans.start(request.least_probability, caller().actor))

    async def ListDuplicateGroups(  # noqa: N802
        self, request: v1.ListDuplicateGroupsRequest, context: Context
    ) -> v1.ListDuplicateGroupsResponse:
        """List what a scan found, surest first."""
        least, most = _bounds(request)
        limit_rows = page_rows(request.page_size, self._settings)
        token = f"{least}/{most}/"
        after, of = decode_token(request.page_token, Listing.GROUPS)
        if request.page_token and not of.startswith(token):
            raise InvalidArgument("a token of another filter", field="page_token")
        operation = request.operation or of.removeprefix(token)
        if request.page_token and operation != of.removeprefix(token):
            raise InvalidArgument("a token of another scan", field="page_token")
        pace = Pace()
        size = looked_at = 0
        with caller().account.index.snapshot() as snapshot:
            scan = chosen(snapshot, operation)
            answer = v1.ListDuplicateGroupsResponse(operation=scan.operation)
            for group in groups(snapshot, scan, after, least, most):
                if (
                    len(answer.groups) == limit_rows
                    or size >= self._settings.page_limit_bytes
                    or looked_at >= self._settings.scan_limit_rows
                ):
                    answer.next_page_token = encode_token(
                        Listing.GROUPS, after, token + scan.operation
                    )
                    break
                after, looked_at = group.rank, looked_at + len(group.rows)
                shown = self._shown(snapshot, group)
                if len(shown.members) >= _PAIR:
                    answer.groups.append(shown)
                    size += shown.ByteSize()
                await pace.step()
        return answer

    def _shown(self, snapshot: Any, group: Group) -> v1.DuplicateGroup:
        """Return a group as it is now: without who was deleted, or marked as distinct, since."""
        action = caller().account.matcher.action(group.probability)
        shown = v1.DuplicateGroup(
            least_probability=group.probability,
            action=cast(v1.MatchAction.ValueType, int(action)),
        )
        for row in still_together(snapshot, group.rows):
            record = snapshot.record(row)
            if record is not None:
                customer = v1.Customer.FromString(record)
                shown.members.add(
                    id=customer.id,
                    display_name=wire.display_name(customer),
                    state=customer.state,
                )
        return shown

    async def TrainModel(  # noqa: N802
        self, request: v1.TrainModelRequest, context: Context
    ) -> Any:
        """Begin to learn the account's model."""
        labels = [Label(label.left, label.right, label.same) for label in request.labels]
        trainings = caller().account.trainings
        started = await trainings.start(labels, caller().actor, dry_run=request.dry_run)
        return operation_message(started)

    async def GetModel(  # noqa: N802
        self, request: v1.GetModelRequest, context: Context
    ) -> v1.GetModelResponse:
        """Return the model in use."""
        model = caller().account.trainings.get()
        answer = v1.GetModelResponse(
            model=model.text, is_default=model.is_default, actor=model.actor
        )
        if not model.is_default:
            answer.set_time.CopyFrom(wire.timestamp(model.time_us))
        return answer

    async def SetModel(  # noqa: N802
        self, request: v1.SetModelRequest, context: Context
    ) -> v1.SetModelResponse:
        """Use another model from now on; other workers do within a second."""
        await caller().account.trainings.set(request.model, caller().actor)
        caller().account.matcher.forget()
        return v1.SetModelResponse()


def _bounds(request: v1.ListDuplicateGroupsRequest) -> tuple[float, float]:
    for name in ("least_probability", "most_probability"):
        if not 0.0 <= getattr(request, name) <= 1.0:  # so it also refuses what is no number
            raise InvalidArgument("is between 0 and 1", field=name)
    most = request.most_probability or 1.0
    if most < request.least_probability:
        raise InvalidArgument("is not below least_probability", field="most_probability")
    return request.least_probability, most
