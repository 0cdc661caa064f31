"""Domain errors: one small tree, each with a stable reason that clients may match on.

A verdict is data and never appears here; these are the faults and refusals.
No error text carries customer data: it names the field, the rule and the limit.
"""

from __future__ import annotations


class NamesakeError(Exception):
    """Base of all domain errors.

    `reason` is stable (it travels as `google.rpc.ErrorInfo.reason`); the message may change.
    `field` is the path of the request field at fault ("customer.emails[0].value"), or "".
    `details` are facts a caller may act on (ids, limits), never contact data.
    """

    reason = "INTERNAL"

    def __init__(self, message: str, *, field: str = "", **details: str) -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.details = details


class InvalidArgument(NamesakeError):
    """The request breaks a rule that no state of the data could satisfy."""

    reason = "INVALID_ARGUMENT"


class IdentityExclusive(NamesakeError):
    """Two values of an identity type of which a customer holds at most one."""

    reason = "IDENTITY_EXCLUSIVE"


class NotFound(NamesakeError):
    """No customer (job, page …) with this id."""

    reason = "NOT_FOUND"


class Deleted(NamesakeError):
    """The id belonged to a customer that was deleted; it is never used again."""

    reason = "CUSTOMER_DELETED"


class Merged(NamesakeError):
    """The id now redirects to a survivor, which `details["survivor"]` names."""

    reason = "CUSTOMER_MERGED"


class MergeConflict(NamesakeError):
    """Customers cannot be merged: `details` name those that stand against it, and how."""

    reason = "MERGE_CONFLICT"


class UnmergeConflict(NamesakeError):
    """Something that came from a member was edited since, and nobody chose what happens to it."""

    reason = "UNMERGE_CONFLICT"


class NotMerged(NamesakeError):
    """The customer is not merged, so there is nothing to give back."""

    reason = "CUSTOMER_NOT_MERGED"


class StaleEtag(NamesakeError):
    """The customer changed since the caller read it."""

    reason = "ETAG_MISMATCH"


class DuplicateFound(NamesakeError):
    """The card shares a contact point or identity and the caller asked to reject that."""

    reason = "DUPLICATE_FOUND"


class AmbiguousDuplicates(NamesakeError):
    """The card matches several customers, so there is none to attach it to."""

    reason = "DUPLICATES_AMBIGUOUS"


class LimitExceeded(NamesakeError):
    """A bound of `Settings` was reached (queue, batch, message); trying later or smaller helps."""

    reason = "LIMIT_EXCEEDED"


class StorageFull(NamesakeError):
    """The disk or the map is full: writes are refused, reads go on."""

    reason = "STORAGE_FULL"


class StorageFault(NamesakeError):
    """The index could not be read or written."""

    reason = "STORAGE_FAULT"


class IndexBusy(NamesakeError):
    """The index cannot be opened for this call at the moment; a retry will find it open."""

    reason = "INDEX_BUSY"


class FormatMismatch(NamesakeError):
    """The data folder was written in a format that this release cannot read."""

    reason = "FORMAT_MISMATCH"


class SequenceUnavailable(NamesakeError):
    """The change feed was asked for a sequence that it does not hold."""

    reason = "SEQUENCE_UNAVAILABLE"


class ConsumerAhead(NamesakeError):
    """The consumer of the feed has acknowledged more; `details["sequence"]` says how much."""

    reason = "CONSUMER_AHEAD"


class ReaderStalled(NamesakeError):
    """A reader of a snapshot took nothing for too long; it may go on from its resume token."""

    reason = "READER_STALLED"


class Unauthenticated(NamesakeError):
    """The call carries no credential, or an unknown one."""

    reason = "UNAUTHENTICATED"


class ScanUnderWay(NamesakeError):
    """The account is being scanned for duplicates already; `details["operation"]` names it."""

    reason = "SCAN_UNDER_WAY"


class OperationUnderWay(NamesakeError):
    """The operation is not done, so it cannot be deleted: cancel it first."""

    reason = "OPERATION_UNDER_WAY"


class ImportDone(NamesakeError):
    """The import job has its end; another import needs another job id."""

    reason = "IMPORT_DONE"


class ImportCancelled(NamesakeError):
    """Somebody cancelled the import job; it takes no more batches."""

    reason = "IMPORT_CANCELLED"


class ImportTakenOver(NamesakeError):
    """A newer stream of the same import job goes on with it."""

    reason = "IMPORT_TAKEN_OVER"


class CountMismatch(NamesakeError):
    """Not as many customers as the caller said would be deleted; `details["customers"]` says."""

    reason = "COUNT_MISMATCH"


class NoLongerMatches(NamesakeError):
    """The customer changed since it was chosen, and the filter does not mean it any more."""

    reason = "NO_LONGER_MATCHES"


class Cancelled(NamesakeError):
    """Somebody asked the operation to stop."""

    reason = "CANCELLED"


class Interrupted(NamesakeError):
    """The process that did the long work stopped or died in the middle; start it again."""

    reason = "INTERRUPTED"


class ShuttingDown(NamesakeError):
    """The process is draining; another worker or a retry will serve the call."""

    reason = "SHUTTING_DOWN"
