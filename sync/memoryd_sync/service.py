"""The sync service: archiver and follower side by side, until told to stop; then both finish and hand over."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import Callable

from redis.asyncio import Redis

from memoryd.archive.client import archive_errors, open_mongo
from memoryd.archive.receipts import ReceiptArchive
from memoryd.archive.store import Archive
from memoryd.clock import SystemClock
from memoryd.config import Kept, Settings
from memoryd.errors import SchemaMismatch
from memoryd.health.listener import listening, live, metrics
from memoryd.health.probes import of_sync
from memoryd.health.report import Health
from memoryd.hot.client import hot_errors, open_blocking_redis, open_redis
from memoryd.hot.journal import Follower as JournalFollower
from memoryd.hot.journal import create_groups
from memoryd.hot.records import Records
from memoryd.jobs.runner import Job, Runner
from memoryd.jobs.state import JobStates
from memoryd.kept import giving_of, keep_telemetry
from memoryd.keys import Keys
from memoryd.model.job import time_of
from memoryd.retry import persistently, work
from memoryd.traces.keep import archive_spans
from memoryd_schemas.errors import SchemaError
from memoryd_schemas.mongo_apply import apply_mongo
from memoryd_sync.archiver import PACE_SECONDS, Archiver
from memoryd_sync.follower import Follower
from memoryd_sync.lease import follower_lease
from memoryd_sync.place import Places
from memoryd_sync.receipts import ReceiptChainer
from memoryd_sync.verifying import verify
from memoryd_sync.watch import watch_archive, watch_redis
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.sync")


async def sync(settings: Settings, stop: asyncio.Event, *, ready: Callable[[], None] = lambda: None) -> None:
    """Keeps Redis and MongoDB telling one story until `stop` is set. Either may be away for a while."""
    name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
    async with contextlib.AsyncExitStack() as stack:
        redis = await stack.enter_async_context(open_redis(settings.redis_url))
        blocking = await stack.enter_async_context(open_blocking_redis(settings.redis_url))
        mongo = open_mongo(settings.mongo_url)
        stack.push_async_callback(mongo.close)
        archive = Archive(mongo[settings.mongo_database])
        keys = Keys(settings.buckets)
        health, prepared = Health(stop), asyncio.Event()
        health.watch(of_sync(redis, archive, keys, prepared))
        pages = {"/live": live, "/ready": health.page, "/metrics": metrics}
        await stack.enter_async_context(
            listening(settings.health_host, settings.sync_health_port, pages, setting="MEMORYD_SYNC_HEALTH_PORT")
        )
        await prepare(redis, archive, keys, stop)
        prepared.set()
        giving = giving_of(settings, redis)
        told = giving.now if giving else told_to_nobody
        archiver, follower, chainer = build(redis, blocking, archive, settings, name=name, told=told)

        async def groups() -> None:
            with hot_errors("prepare the journals"):
                await create_groups(redis, keys)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(
                work(archiver.step, archiver.leave, stop, doing="archive", prepare=groups), name="archive"
            )
            tasks.create_task(
                work(chainer.step, chainer.leave, stop, doing="chain receipts", prepare=groups), name="chain receipts"
            )
            tasks.create_task(work(lambda: follower.step(stop), follower.leave, stop, doing="follow"), name="follow")
            watches = {"Redis": lambda: watch_redis(redis, keys, stop), "MongoDB": lambda: watch_archive(archive, stop)}
            for what, look in watches.items():
                tasks.create_task(persistently(look, stop, doing=f"measure {what}"), name=f"measure {what}")
            weekly = Job("verify", time_of("verify", settings.jobs), lambda _: verify(settings))
            Runner(JobStates(redis), archive, SystemClock(), name=name).start(tasks, [weekly], stop)
            keep_telemetry(tasks, settings, archive, giving, stop, service="memoryd-sync", name=name)
            if settings.traces is Kept.MONGO:
                take = persistently(lambda: archive_spans(redis, blocking, archive, name), stop, doing="archive spans")
                tasks.create_task(take, name="archive spans")
            log.info("sync.ready", name=name)
            ready()
    log.info("sync.stopped", name=name)


async def prepare(redis: Redis, archive: Archive, keys: Keys, stop: asyncio.Event) -> None:
    """Waits for both stores, and brings MongoDB's collections and the journals' groups up to date."""
    prepared = asyncio.Event()

    async def once() -> None:
        await prepare_archive(archive)
        with hot_errors("prepare the journals"):
            await create_groups(redis, keys)
        prepared.set()

    async def until_stop() -> None:
        await stop.wait()
        prepared.set()

    waiting = asyncio.create_task(until_stop())
    try:
        await persistently(once, prepared, doing="prepare")
    finally:
        waiting.cancel()


async def prepare_archive(archive: Archive) -> None:
    """Brings MongoDB's collections up to date. Raises SchemaMismatch, ArchiveUnavailable."""
    try:
        with archive_errors("prepare MongoDB"):
            await apply_mongo(archive.database)
    except SchemaError as error:
        raise SchemaMismatch(str(error), hint=error.hint) from error


def build(
    redis: Redis, blocking: Redis, archive: Archive, settings: Settings, *, name: str, told: Told = told_to_nobody
) -> tuple[Archiver, Follower, ReceiptChainer]:
    """Both halves of sync over open stores, and what chains the receipts."""
    clock, keys = SystemClock(), Keys(settings.buckets)
    records = Records(redis, keys, settings.vector_type)
    journals = JournalFollower(redis, blocking, keys, group="archive", consumer=name, pace_seconds=PACE_SECONDS)
    follower = Follower(
        records,
        archive,
        Places(redis, clock),
        follower_lease(redis, name),
        clock,
        prepare_archive=lambda: prepare_archive(archive),
        told=told,
    )
    chainer = ReceiptChainer(records, blocking, ReceiptArchive(archive.database), consumer=name)
    return Archiver(journals, records, archive, clock, told=told), follower, chainer
