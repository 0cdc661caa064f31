"""Every bound and choice of the service in one frozen object, each with its unit and reason.

Values come from the environment (`NAMESAKE_…`) or the command line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Limits are inclusive. Sizes are bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix="NAMESAKE_", frozen=True, extra="forbid")

    # Where
    data: Path = Field(Path("namesake-data"), description="Folder that holds everything durable")
    address: str = Field("127.0.0.1:7400", description="host:port to listen on")
    workers: int = Field(1, ge=1, le=64, description="Server processes over the one folder")
    tls_certificate: Path | None = Field(None, description="PEM chain; TLS is on when given")
    tls_key: Path | None = Field(None, description="PEM private key of the certificate")
    accounts: Path | None = Field(None, description="TOML file of accounts and credentials")
    redis: str | None = Field(
        None, description="redis:// URL of a shared DNS verdict cache, and of the stream"
    )
    metrics_address: str | None = Field(None, description="host:port of the Prometheus page")

    # Normal forms
    default_region: str = Field(
        "US", pattern="^[A-Z]{2}$", description="Region of phones given without a country code"
    )
    exclusive_identity_types: Annotated[frozenset[str], NoDecode] = Field(
        frozenset(), description="Identity types of which a customer holds at most one value"
    )

    # DNS
    dns_servers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="IP or IP:port ([IPv6]:port); empty: the system's resolvers"
    )
    dns_deadline_ms: int = Field(
        400, ge=1, description="A save waits no longer than this; people notice half a second"
    )
    dns_lookup_s: int = Field(
        5, ge=1, description="A look-up itself ends after this; whoever waited left long before"
    )
    dns_concurrency: int = Field(
        256, ge=1, description="Look-ups under way at once; recursive resolvers throttle above it"
    )
    dns_waiting_domains: int = Field(
        10_000, ge=1, description="Domains queued for look-up; beyond it a check says UNKNOWN"
    )
    dns_interactive_domains: int = Field(
        20, ge=0, description="A call that needs more look-ups is bulk: a list, and nobody's save"
    )
    dns_bulk_share: float = Field(
        0.75, gt=0, le=1, description="Part of concurrency and queue that bulk may take from saves"
    )
    dns_cache_domains: int = Field(
        100_000, ge=1, description="Verdicts held in memory, about 300 bytes each"
    )
    dns_stored_domains: int = Field(
        1_000_000,
        ge=1,
        le=10_000_000,
        description="Verdicts held on disk, about 200 bytes each; oldest go first",
    )
    dns_ttl_min_s: int = Field(60, ge=0, description="Shorter TTLs are stretched to this")
    dns_ttl_max_s: int = Field(86_400, ge=1, description="Longer TTLs are cut to this")
    dns_negative_ttl_s: int = Field(
        300, ge=1, description="A domain that somebody registers now works minutes later"
    )
    dns_unknown_ttl_s: int = Field(
        15, ge=0, description="After a failed look-up the domain is not asked again for this long"
    )
    dns_stale_s: int = Field(
        7 * 86_400, ge=0, description="A positive verdict outlives its TTL by this when DNS is down"
    )
    dns_channel_life_s: int = Field(
        600, ge=1, description="c-ares keeps NODATA up to an hour; a new channel forgets it"
    )
    redis_deadline_ms: int = Field(
        50, ge=1, description="A shared cache slower than this is worse than none"
    )
    redis_pause_s: int = Field(
        2, ge=1, description="After a fault the shared cache is left alone for this long"
    )

    # Index
    map_size: int = Field(
        1 << 40, ge=1 << 20, description="Virtual size of the map (address space, not disk)"
    )
    max_readers: int = Field(
        4_096,
        ge=126,
        le=1 << 20,
        description="Snapshots open at once over all workers: reader slots, 64 bytes each, of the "
        "lock file; the first process to open a folder decides",
    )
    group_limit_items: int = Field(
        4_000, ge=1, description="Decisions or rows in one durable commit: longer ones delay saves"
    )
    bulk_limit_items: int = Field(
        1_000,
        ge=1,
        description="Rows of imports in one durable commit, or one batch, while cards are saved: "
        "longer ones delay these",
    )
    bulk_rest: float = Field(
        1.0,
        ge=0,
        le=100,
        description="While cards are saved, the writer rests after a batch of an import for so "
        "many times as long as it took: cards wait less, imports take longer",
    )
    group_wait_us: int = Field(
        2_000,
        ge=0,
        le=100_000,
        description="Microseconds that a commit waits for more card saves where the last commit "
        "was of several: fewer commits leave more time for saves",
    )
    group_enough_items: int = Field(
        64, ge=1, description="Decisions with which a commit waits no longer"
    )
    write_queue_items: int = Field(
        20_000,
        ge=1,
        description="Decisions waiting for the writer before callers are held back; as many rows "
        "of imports",
    )
    request_memory_s: int = Field(
        86_400, ge=1, description="How long a request_id makes a retry return the first outcome"
    )

    changes_kept_s: int = Field(
        0, ge=0, description="Changes older than this leave the feed, not the history; 0: none do"
    )
    changes_kept_bytes: int = Field(
        0,
        ge=0,
        description="The oldest changes leave the feed where it takes more than this, about 100 "
        "bytes each; 0: none do",
    )
    changes_drop_rows: int = Field(
        500, ge=1, description="Changes dropped in one commit: longer ones delay card saves"
    )
    changes_look_s: float = Field(
        10.0, gt=0, description="Between looks whether changes are to leave the feed"
    )
    consumers_limit: int = Field(
        1_000, ge=1, description="Named consumers of the feed: a list that fits one answer"
    )
    changes_redis_stream: str | None = Field(
        None,
        min_length=1,
        description="Every change goes to the Redis stream of this name, with ':' and the "
        "account's behind it; needs `redis`",
    )
    changes_redis_limit: int = Field(
        1_000_000, ge=1, description="About so many changes stay in the Redis stream"
    )

    settle_batch_domains: int = Field(
        100, ge=1, description="Waiting domains looked up together in the background"
    )
    settle_batch_rows: int = Field(
        500, ge=1, description="Rows rewritten in one commit: longer ones delay card saves"
    )
    settle_sort_bytes: int = Field(
        128 << 10,
        ge=1,
        description="What imports left waiting, sorted by domain in one commit: 13,000 rows",
    )
    settle_pause_s: float = Field(
        1.0, gt=0, description="Between looks for waiting domains; doubled while DNS is down"
    )
    settle_pause_limit_s: float = Field(
        300.0, gt=0, description="Longest such pause: how long a recovered DNS may go unnoticed"
    )

    merge_members: int = Field(
        1_000,
        ge=1,
        le=10_000,
        description="Customers merged into one, or given back, at once: one commit, some 0.2 s",
    )
    unmerge_distinct: int = Field(
        100,
        ge=1,
        le=1_000,
        description="Customers that an unmerge marks as distinct, two by two: some 5,000 pairs",
    )
    merge_at_once: int = Field(
        20, ge=1, description="Members up to which a merge is done when it is answered"
    )
    merge_queue_rows: int = Field(
        10_000,
        ge=1,
        description="Saved customers per worker and account that wait for the merge policy to look "
        "at them; more are left to a scan",
    )
    merge_look_s: float = Field(
        2.0, gt=0, description="Between looks whether an import or scan left merges to the policy"
    )

    # Requests
    message_limit: int = Field(16 << 20, ge=1 << 16, description="Largest gRPC message, either way")
    customer_limit: int = Field(64 << 10, ge=1 << 10, description="Largest encoded customer")
    points_limit: int = Field(
        100, ge=1, description="Contact points (or identities) of a customer, contacts included"
    )
    list_limit: int = Field(200, ge=1, description="Entries in any other list of a customer")
    item_limit: int = Field(64 << 10, ge=1 << 10, description="Largest encoded item of a timeline")
    item_values: int = Field(100, ge=1, description="Attributes of an item")
    item_batch: int = Field(
        1_000, ge=1, description="Items added or deleted by one call: they are one durable commit"
    )
    item_drop_rows: int = Field(
        1_000,
        ge=1,
        description="Items of deleted customers dropped in one commit, that of the deletion too: "
        "longer ones delay card saves. More go after it, in the background",
    )
    item_drop_look_s: float = Field(
        5.0, gt=0, description="Between looks whether items of deleted customers are to go"
    )
    text_limit_chars: int = Field(10_000, ge=1, description="Characters of any text field")
    batch_limit_rows: int = Field(5_000, ge=1, description="Rows of a batch, unary or streamed")
    page_default_rows: int = Field(50, ge=1, description="Rows of a page nobody sized")
    page_limit_rows: int = Field(1_000, ge=1, description="Largest page")
    page_limit_bytes: int = Field(
        2 << 20, ge=1 << 16, description="Answers are cut at this; clients take 4 MiB by default"
    )
    answer_limit: int = Field(
        4 << 20, ge=1 << 16, description="Largest unpaged answer: what clients take by default"
    )
    duplicate_page_rows: int = Field(5, ge=1, description="Others shown per contact point")
    count_limit_rows: int = Field(
        10_000, ge=1, description="Duplicates of one point are counted up to this, then it is said"
    )
    count_budget_rows: int = Field(
        200_000, ge=1, description="Rows read to count for many customers; then counts are floors"
    )
    match_same_probability: float = Field(
        0.99, gt=0, lt=1, description="From here two customers are said to be the same"
    )
    match_review_probability: float = Field(
        0.5, gt=0, lt=1, description="From here somebody should look; below they are different"
    )
    match_block_rows: int = Field(
        60, ge=1, le=1_000, description="Rows looked at under one key; more are split by a second"
    )
    match_save_block_rows: int = Field(
        10, ge=1, le=1_000, description="The same on a save: each row is read from the index"
    )
    match_save_candidates: int = Field(
        50, ge=1, description="Customers compared on a save: its budget is a part of a millisecond"
    )
    match_candidates: int = Field(
        200, ge=1, le=10_000, description="Customers compared where somebody asks who is similar"
    )
    similar_page_rows: int = Field(5, ge=1, description="Similar customers shown on a save")
    match_limit_rows: int = Field(100, ge=1, description="Largest number of matches of a probe")
    distinct_ids: int = Field(
        20, ge=2, le=100, description="Customers told apart at once: each pair of them is stored"
    )
    scan_limit_rows: int = Field(
        20_000, ge=1, description="Rows looked at for one page; then a short page with a token"
    )
    export_batch_rows: int = Field(1_000, ge=1, description="Rows of an export message")
    stream_stall_s: int = Field(
        60, ge=1, description="A snapshot reader that takes nothing for this long is ended"
    )
    watch_poll_ms: int = Field(50, ge=1, description="How soon a watcher sees another worker")
    concurrent_rpcs: int = Field(1_000, ge=1, description="RPCs under way per worker")
    concurrent_scans: int = Field(
        4,
        ge=1,
        description="Backups and verifications under way per worker: each has a thread and reads "
        "the whole file",
    )
    concurrent_operations: int = Field(
        2,
        ge=1,
        description="Long work (scans, trainings, changes to many) under way per account, over "
        "all workers: a scan has a process that holds the features of all customers, 300 bytes "
        "each",
    )
    operations_kept: int = Field(
        100, ge=1, description="Operations that are done, remembered per account; the oldest go"
    )
    import_part_rows: int = Field(
        25,
        ge=1,
        description="Rows of an import that meet stored customers, in one transaction: 10 ms",
    )
    import_failures_kept: int = Field(
        1_000_000,
        ge=0,
        description="Failed rows kept of an import job, about 150 bytes each; more are counted",
    )
    imports_kept: int = Field(
        1_000,
        ge=1,
        description="Import jobs that are done, cancelled or left, remembered per account with "
        "their failures; the oldest go when one begins",
    )
    import_paused_s: int = Field(
        30 * 86_400, ge=1, description="After which a job that nobody goes on with is left: a month"
    )
    operation_wait_s: int = Field(
        60, ge=1, description="Longest WaitOperation: it holds a place among the RPCs"
    )
    scan_group_rows: int = Field(
        1_000,
        ge=2,
        description="Customers of a group; a larger one is stored in parts that fit an answer",
    )
    scan_write_rows: int = Field(
        2_000, ge=1, description="Rows of groups written in one commit: longer ones delay saves"
    )
    bulk_batch_rows: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Customers of a change to many written in one commit: longer ones delay saves",
    )
    bulk_ids: int = Field(
        100_000, ge=1, description="Customers that a change to many may name by their ids"
    )
    bulk_delete_rows: int = Field(
        100_000, ge=1, description="Customers deleted at once: it cannot be undone"
    )
    labels_limit: int = Field(10_000, ge=1, description="Labelled pairs of a training")
    model_limit_chars: int = Field(
        1 << 18, ge=1 << 14, description="A model's text: it has some 40,000"
    )
    keepalive_s: int = Field(
        30,
        ge=1,
        description="A peer silent for this long is asked whether it is there; one that says "
        "nothing for as long again is gone, its calls too",
    )
    drain_s: int = Field(20, ge=0, description="Grace for running RPCs at shutdown")

    @field_validator("dns_servers", "exclusive_identity_types", mode="before")
    @classmethod
    def _split(cls, given: object) -> object:
        """Take a list from the environment as people write one: with commas between."""
        if not isinstance(given, str):
            return given
        return [part for part in map(str.strip, given.split(",")) if part]
