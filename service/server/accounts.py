"""Accounts: one tenant each, with its own folder of index files, region and credentials.

Without a file of accounts there is one, `default`, for everybody who can reach the socket (which
is then a loopback one). The file is TOML:

    [acme]
    default_region = "DE"
    [acme.tokens]
    # actor = SHA-256 of the token, in hex: `printf %s "$TOKEN" | sha256sum`
    crm = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import Counter, Gauge

from service.core.prepare import MATCH_RULES_VERSION, match_key
from service.core.regions import region_fault
from service.errors import InvalidArgument, Unauthenticated
from service.identity.bulk import Bulk
from service.identity.consumers import Consumers
from service.identity.jobs import Jobs
from service.identity.judging import Judge, Outcome
from service.identity.leaving import Sweeper
from service.identity.machine import MachineMerger
from service.identity.matching import Matcher
from service.identity.merging import Merger
from service.identity.operations import Operations
from service.identity.registry import Registry
from service.identity.retention import Trimmer
from service.identity.scans import Scans
from service.identity.settle import Settler
from service.identity.timeline import Timeline
from service.identity.training import Trainings
from service.index import Index
from service.server.survivorship import Survivorship, is_archived
from service.server.wire import Records
from service.settings import Settings
from service.validation.validator import Validator

if TYPE_CHECKING:
    from service.server.relay import Relay

ACCOUNTS_LIMIT = 1_000  # each holds an open environment of file descriptors and address space
log = structlog.get_logger("namesake")

QUEUED = Gauge("namesake_writer_queued", "Decisions that wait for the writer")
LOOKS = Counter(
    "namesake_merge_policy_looks",
    "Customers and groups that the merge policy looked at, by what came of it",
    ["outcome"],
)

ANONYMOUS = "anonymous"

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NO_TOKEN = hashlib.sha256(b"").hexdigest()  # what sha256sum says where $TOKEN is not set
_VERDICTS = "verdicts"  # the folder of the cache of DNS verdicts, beside those of the accounts


@dataclass(frozen=True, slots=True)
class AccountConfig:
    """What the file says of one account. `tokens`: SHA-256 digest → actor."""

    name: str
    default_region: str
    tokens: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Account:
    """One tenant, open."""

    name: str
    default_region: str
    index: Index
    registry: Registry
    settler: Settler
    matcher: Matcher
    operations: Operations
    scans: Scans
    trainings: Trainings
    imports: Jobs
    bulk: Bulk
    merger: Merger
    machine: MachineMerger
    consumers: Consumers
    trimmer: Trimmer
    relay: Relay | None
    timeline: Timeline
    sweeper: Sweeper


def read_accounts(settings: Settings) -> list[AccountConfig]:
    """Read the accounts' file; raise `InvalidArgument` that names the key at fault."""
    if settings.accounts is None:
        return [AccountConfig("default", settings.default_region)]
    path = settings.accounts
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(
            f"cannot read the accounts' file: {error}", field="accounts"
        ) from error
    if not 0 < len(tables) <= ACCOUNTS_LIMIT:
        raise InvalidArgument(f"1 to {ACCOUNTS_LIMIT} accounts are taken", field="accounts")
    configs = [_config(name, table, settings) for name, table in tables.items()]
    digests = [digest for config in configs for digest in config.tokens]
    if len(digests) != len(set(digests)):
        raise InvalidArgument("the same token stands twice", field="accounts")
    return configs


def _config(name: str, table: object, settings: Settings) -> AccountConfig:
    if not _NAME.fullmatch(name) or not isinstance(table, dict):
        raise InvalidArgument("an account is a table named [a-z0-9][a-z0-9_-]*", field="accounts")
    if name == _VERDICTS:
        raise _fault(name, "the folder of this name is the DNS cache's; choose another name")
    unknown = set(table) - {"default_region", "tokens"}
    if unknown:
        raise _fault(name, f"unknown key {min(unknown)!r}")
    region = table.get("default_region", settings.default_region)
    if not isinstance(region, str):
        raise _fault(f"{name}.default_region", "not a region")
    if fault := region_fault(region):
        raise _fault(f"{name}.default_region", fault)
    return AccountConfig(name, region, _tokens(f"{name}.tokens", table.get("tokens", {})))


def _tokens(key: str, table: object) -> dict[str, str]:
    if not isinstance(table, dict) or not table:
        raise _fault(key, "needs at least one token")
    for actor, digest in table.items():
        if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
            raise _fault(f"{key}.{actor}", "not a SHA-256 digest in hex")
        if digest == _NO_TOKEN:
            raise _fault(f"{key}.{actor}", "this is the digest of no token at all")
    if len(set(table.values())) < len(table):
        raise _fault(key, "the same token stands twice")
    return {digest: actor for actor, digest in table.items()}


def _fault(key: str, message: str) -> InvalidArgument:
    return InvalidArgument(f"{key}: {message}", field="accounts")


def _note_look(outcome: Outcome) -> None:
    LOOKS.labels(outcome.value).inc()


class Accounts:
    """All accounts of this process, opened and closed together."""

    def __init__(self, settings: Settings, validator: Validator) -> None:
        self._settings = settings
        self._validator = validator
        self._by_name: dict[str, Account] = {}
        self._by_digest: dict[str, tuple[Account, str]] = {}
        self._open: tuple[Account, str] | None = None

    def start(self, configs: list[AccountConfig], *, settle: bool) -> None:
        """Open every account's index; `settle`: this process does the background work."""
        for config in configs:
            account = self._start(config, self._settings.data / config.name)
            self._by_name[config.name] = account
            for digest, actor in config.tokens.items():
                self._by_digest[digest] = (account, actor)
            if settle:
                account.settler.start()
                account.trimmer.start()
                account.sweeper.start()
                account.machine.start()
                if account.relay is not None:
                    account.relay.start()
        QUEUED.set_function(
            lambda: sum(account.index.queued_items for account in self._by_name.values())
        )
        if not self._by_digest:
            self._open = (self._by_name[configs[0].name], ANONYMOUS)

    def _start(self, config: AccountConfig, folder: Path) -> Account:
        index = Index.open(folder, self._settings, match_key)
        codec = Records(self._settings)
        if rekeyed := index.follow_rules(codec, MATCH_RULES_VERSION):
            log.info("match_keys_made_anew", account=config.name, customers=rekeyed)
        registry = Registry(index, self._validator, codec, self._settings)
        settler = Settler(index, self._validator, registry, codec, self._settings)
        matcher = Matcher(self._settings)
        operations = Operations(index, self._settings)
        rules = Survivorship(self._settings)
        merger = Merger(index, codec, rules, registry, self._settings)
        judge = Judge(matcher, codec, is_archived, self._settings)
        return Account(
            config.name,
            config.default_region,
            index,
            registry,
            settler,
            matcher,
            operations,
            Scans(index, operations, self._settings),
            Trainings(index, operations, self._settings),
            Jobs(index, self._settings),
            Bulk(index, operations, registry, codec, self._settings),
            merger,
            MachineMerger(index, merger, judge, operations, self._settings, _note_look),
            Consumers(index, self._settings),
            Trimmer(index, codec, self._settings),
            self._relay(config.name, index),
            Timeline(index, self._validator),
            Sweeper(index, self._settings),
        )

    def _relay(self, name: str, index: Index) -> Relay | None:
        settings = self._settings
        if settings.changes_redis_stream is None:
            return None
        if settings.redis is None:
            raise InvalidArgument("the stream of changes needs a Redis", field="redis")
        # Here, as the client of Redis loads slowly.
        from service.server.relay import ANSWER_S, Relay
        from service.validation.shared import redis_client

        client = redis_client(settings.redis, ANSWER_S)
        return Relay(f"{settings.changes_redis_stream}:{name}", index, client, settings)

    async def recover(self) -> None:
        """Find the long work that a process of before did not come to the end of."""
        for account in self._by_name.values():
            await account.operations.recover()
            account.imports.recover()

    def authenticate(self, authorization: str) -> tuple[Account, str]:
        """Return account and actor of a call's `authorization` metadata."""
        if self._open is not None:
            return self._open
        scheme, _, token = authorization.partition(" ")
        digest = hashlib.sha256(token.encode()).hexdigest()
        found = self._by_digest.get(digest)
        if scheme.lower() != "bearer" or found is None:
            raise Unauthenticated("needs `authorization: Bearer <token>` of a known token")
        return found

    async def close(self) -> None:
        """Stop settling and long work, write what waits, close the files."""
        accounts = list(self._by_name.values())
        await asyncio.gather(*(account.machine.close() for account in accounts))
        await asyncio.gather(*(account.operations.close() for account in accounts))
        await asyncio.gather(*(account.imports.close() for account in accounts))
        await asyncio.gather(*(account.settler.close() for account in accounts))
        await asyncio.gather(*(account.trimmer.close() for account in accounts))
        await asyncio.gather(*(account.sweeper.close() for account in accounts))
        await asyncio.gather(*(one.relay.close() for one in accounts if one.relay is not None))
        await asyncio.gather(*(account.index.close() for account in accounts))
