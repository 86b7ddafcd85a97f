"""The daemon: opens the tiers, serves agents, embeds what they store, until told to stop; then it drains."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from memoryd.agent.agent_holders import AgentHolder
from memoryd.agent.chains import Chains
from memoryd.agent.channels import ChannelHolder, ProjectChannels
from memoryd.agent.checkpoints import Checkpoints
from memoryd.agent.closing import Closing
from memoryd.agent.context import Contexts
from memoryd.agent.day_holder import DayHolder
from memoryd.agent.days import Days
from memoryd.agent.documents import DocumentStore
from memoryd.agent.episodes import EpisodeStore
from memoryd.agent.facts import FactStore
from memoryd.agent.feedback import Feedbacks
from memoryd.agent.gaps import GapHolder, GapNotes
from memoryd.agent.holders import PassingHolder, SessionHolder
from memoryd.agent.introspection import Introspect
from memoryd.agent.leases import Leases
from memoryd.agent.nights import Nights
from memoryd.agent.overflow import Left
from memoryd.agent.scratch import Scratch
from memoryd.agent.seen import Sightings
from memoryd.agent.sessions import Sessions
from memoryd.agent.sharing import Sharing
from memoryd.agent.shrinking import Shrinking
from memoryd.agent.states import AgentStates
from memoryd.agent.tools import Tools
from memoryd.archive.documents import DocumentArchive
from memoryd.archive.episodes import EpisodeArchive
from memoryd.archive.facts import FactArchive
from memoryd.archive.receipts import ReceiptArchive
from memoryd.archive.selves import ArchivedSelf
from memoryd.clock import Clock, SystemClock
from memoryd.config import OverflowKept, Settings
from memoryd.embed.cache import model_of
from memoryd.embed.follower import PACE_SECONDS, PACE_WITHOUT_MODEL_SECONDS, EmbedFollower, EmbedState
from memoryd.embed.protocol import Embedder
from memoryd.embed.tokens import Estimate, open_tokens
from memoryd.engine import Engine
from memoryd.health.gauges import look_at_stores
from memoryd.health.listener import listening, live, metrics
from memoryd.health.probes import of_daemon
from memoryd.health.report import Health
from memoryd.hot.agents import HotAgents
from memoryd.hot.channels import Channels
from memoryd.hot.documents import Documents
from memoryd.hot.episodes import EpisodeLog
from memoryd.hot.events import Events
from memoryd.hot.facts import HotFacts
from memoryd.hot.gaps import Gaps
from memoryd.hot.journal import Follower
from memoryd.hot.leases import TaskLeases
from memoryd.hot.passing import Passing
from memoryd.hot.query_cache import QueryCache
from memoryd.hot.questions import KeptQuestions
from memoryd.hot.recalls import Recalls
from memoryd.hot.receipts import Forgets
from memoryd.hot.scratch import Scratchpads
from memoryd.hot.search import Search
from memoryd.hot.selves import HotSelf
from memoryd.hot.tools import ToolCache
from memoryd.jobs.runner import Job, Runner
from memoryd.jobs.state import JobStates
from memoryd.kept import giving_of, keep_telemetry
from memoryd.lifecycle.compressing import Compressing
from memoryd.lifecycle.duplicates import Duplicates
from memoryd.lifecycle.forgetting import Forgetting
from memoryd.lifecycle.holders import CachedVectors, Dictionaries, Holder
from memoryd.lifecycle.merging import Merging
from memoryd.lifecycle.moving import Mover
from memoryd.lifecycle.planning import Planner
from memoryd.lifecycle.quiet import QuietSessions
from memoryd.lifecycle.receipts import ReceiptBook
from memoryd.lifecycle.retaining import PolicyForgetting, Retaining
from memoryd.lifecycle.summarizing import Summarizing
from memoryd.lifecycle.tiering import Tiering
from memoryd.lifecycle.verifying import Verifier
from memoryd.limits import MOVE_SWEEP_SECONDS
from memoryd.model.job import At, Every, time_of
from memoryd.protocol.server import Server
from memoryd.protocol.telling import open_texts
from memoryd.protocol.verbs.agents import AgentVerbs
from memoryd.protocol.verbs.checkpoints import CheckpointVerbs
from memoryd.protocol.verbs.compression import CompressionVerbs
from memoryd.protocol.verbs.episodes import EpisodeVerbs
from memoryd.protocol.verbs.events import EventVerbs
from memoryd.protocol.verbs.facts import FactVerbs
from memoryd.protocol.verbs.feedback import FeedbackVerbs
from memoryd.protocol.verbs.forgetting import ForgettingVerbs
from memoryd.protocol.verbs.introspection import IntrospectionVerbs
from memoryd.protocol.verbs.maintenance import MaintenanceVerbs
from memoryd.protocol.verbs.memories import MemoryVerbs
from memoryd.protocol.verbs.scratch import ScratchVerbs
from memoryd.protocol.verbs.seen import SeenVerbs
from memoryd.protocol.verbs.sessions import SessionVerbs
from memoryd.protocol.verbs.sharing import SharingVerbs
from memoryd.protocol.verbs.together import TogetherVerbs
from memoryd.protocol.verbs.tools import ToolVerbs
from memoryd.protocol.verbs.verb import Handler
from memoryd.recall.profiles import Profiles
from memoryd.recall.synonyms import Synonyms
from memoryd.recalling import Recalling
from memoryd.retry import persistently, wait_for_stop, work
from memoryd.stores import MongoClient, Stores, open_stores, prepare_redis
from memoryd.summarize.protocol import Summarizer
from memoryd.whole import Wholes
from memoryd_telemetry.kept import Told, told_to_nobody
from memoryd_telemetry.logs import get_logger

log = get_logger("memoryd.daemon")


async def serve(
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[], None] = lambda: None,
    embedder: Embedder | None = None,
    summarizer: Summarizer | None = None,
    mongo: MongoClient | None = None,
    clock: Clock | None = None,
) -> None:
    """Serves agents until `stop` is set, then finishes what is in flight.

    A runtime that has the daemon inside may bring its own embedder, its own summariser and its own MongoDB client
    (PyMongo's asyncio client or Motor's); all of them stay open.
    """
    texts = open_texts(settings)
    name = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(3)}"
    health = Health(stop)
    pages = {"/live": live, "/ready": health.page, "/metrics": metrics}
    async with (
        listening(settings.health_host, settings.health_port, pages, setting="MEMORYD_HEALTH_PORT"),
        open_stores(settings, embedder=embedder, summarizer=summarizer, mongo=mongo, clock=clock) as stores,
    ):
        giving = giving_of(settings, stores.redis)
        told = giving.now if giving else told_to_nobody
        engine, recalling, embedding = build(stores, settings, name=name, told=told)
        compression = _compression(stores, settings, engine, recalling)
        shrinking, shrinks = Shrinking(compression.compressing), settings.overflow is OverflowKept.SUMMARIES

        async def prepare() -> None:
            await prepare_redis(stores.redis, stores.keys, settings, stores.embedder)
            if stores.models:
                await stores.models.follow()

        server = Server(
            stores.redis,
            stores.blocking,
            handlers(stores, settings, engine, recalling, compression, left=shrinking.note if shrinks else None),
            name=name,
            prepare_redis=prepare,
            told=told,
            texts=texts,
        )
        await server.prepare()
        moves = mover(stores)
        embed = work(lambda: embedding.step(stop), embedding.leave, stop, doing="embed", prepare=prepare)
        health.watch(of_daemon(stores.redis, stores.archive, stores.keys, stores.cache))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(server.run(stop), name="serve agents")
            tasks.create_task(embed, name="embed")
            tasks.create_task(persistently(lambda: end_moves(moves, stop), stop, doing="end moves"), name="end moves")
            look = partial(look_at_stores, stores.redis, stores.archive, stores.keys, stop)
            tasks.create_task(persistently(look, stop, doing="measure"), name="measure")
            if shrinks:
                tasks.create_task(shrinking.run(stop), name="shrink sessions")
            runner = Runner(JobStates(stores.redis), stores.archive, SystemClock(), name=name)  # whatever time memories have
            runner.start(tasks, jobs(stores, settings, engine, recalling, compression), stop)
            keep_telemetry(tasks, settings, stores.archive, giving, stop, service="memoryd", name=name)
            log.info("daemon.ready", daemon=name, model=stores.embedder.model if stores.embedder else None)
            ready()
    log.info("daemon.stopped", daemon=name)


def build(
    stores: Stores, settings: Settings, *, name: str, told: Told = told_to_nobody
) -> tuple[Engine, Recalling, EmbedFollower]:
    """The verbs and the embedding follower over open stores."""
    state, records, cache, models = EmbedState(), stores.records, stores.cache, stores.models
    engine = Engine(records, stores.archive, cache, clock=stores.clock, embed_state=state)
    recalling = Recalling(
        records, _search(stores, settings), cache, clock=stores.clock, archive=stores.archive,
        profiles=Profiles(settings.recall_weights), follow=models.follow if models else None, reranker=stores.reranker,
        rerank_seconds=settings.rerank_timeout_seconds, synonyms=Synonyms(settings.synonyms),
        answers=QueryCache(stores.redis, stores.keys),
    )  # fmt: skip
    pace = PACE_SECONDS if cache else PACE_WITHOUT_MODEL_SECONDS
    follower = Follower(stores.redis, stores.blocking, stores.keys, group="embed", consumer=name, pace_seconds=pace)
    return engine, recalling, EmbedFollower(
        follower, records, cache, state, models, contents=Wholes(records, stores.archive, lambda: model_of(cache)).texts,
        told=told,
    )


class Compression(NamedTuple):
    """Who makes few words of many."""

    summarizing: Summarizing
    compressing: Compressing
    days: Days


def handlers(
    stores: Stores, settings: Settings, engine: Engine, recalling: Recalling, compression: Compression, *,
    left: Left | None = None,
) -> Mapping[str, Handler]:  # fmt: skip
    """Who carries out which verb. `left` is told what has left full sessions."""
    known = Recalls(stores.redis, stores.keys, stores.clock)
    feedbacks = Feedbacks(engine, stores.records, known, stores.clock)
    documents = _documents(stores)
    sessions = Sessions(documents, engine, open_tokens(settings), left=left)
    channels = Channels(stores.redis, stores.keys)
    leases = Leases(TaskLeases(stores.redis, stores.keys))
    states = AgentStates(documents, HotAgents(stores.redis, stores.keys))
    chains = Chains(states)
    facts = _facts(stores, settings, engine)
    gaps = GapNotes(Gaps(stores.redis, stores.keys), stores.clock)
    sightings = Sightings(stores.records, stores.archive, stores.clock)
    return {
        **MemoryVerbs(engine, recalling, sightings, gaps).handlers(),
        **SeenVerbs(sightings).handlers(),
        **EventVerbs(Events(stores.redis, stores.keys)).handlers(),
        **FeedbackVerbs(feedbacks).handlers(),
        **SessionVerbs(
            sessions, Contexts(sessions, recalling, feedbacks), sightings, Closing(sessions, compression.compressing)
        ).handlers(),
        **CheckpointVerbs(Checkpoints(sessions)).handlers(),
        **AgentVerbs(states, chains).handlers(),
        **EpisodeVerbs(_episodes(stores, settings, engine, recalling)).handlers(),
        **FactVerbs(facts, stores.clock).handlers(),
        **IntrospectionVerbs(_introspect(stores, recalling, states, facts, gaps)).handlers(),
        **ScratchVerbs(Scratch(Scratchpads(stores.redis, stores.keys))).handlers(),
        **TogetherVerbs(leases, ProjectChannels(channels)).handlers(),
        **SharingVerbs(Sharing(engine, stores.records, stores.clock)).handlers(),
        **ToolVerbs(_tools(stores, settings)).handlers(),
        **_forgetting(stores, engine, recalling).handlers(),
        **CompressionVerbs(*compression).handlers(),
        **MaintenanceVerbs(duplicates(stores, settings, engine)).handlers(),
    }


def _compression(stores: Stores, settings: Settings, engine: Engine, recalling: Recalling) -> Compression:
    records = stores.records
    planner = Planner(records, stores.archive, recalling.recall, (), stores.clock)
    seconds = settings.summarize_timeout_seconds
    summarizing = Summarizing(planner, stores.archive, stores.summarizer, seconds=seconds)
    compressing = Compressing(
        engine, records, stores.archive, planner, summarizing, mover(stores), embeds=stores.embedder is not None
    )
    return Compression(
        summarizing, compressing, Days(engine, stores.archive, planner, summarizing, _documents(stores))
    )


def duplicates(stores: Stores, settings: Settings, engine: Engine) -> Duplicates:
    """What finds memories that say nearly the same, and merges them."""
    embeds = stores.embedder is not None
    merging = Merging(engine, stores.records, mover(stores), embeds=embeds)
    return Duplicates(stores.records, _search(stores, settings), stores.archive, merging, settings.tiers, embeds=embeds)


def mover(stores: Stores) -> Mover:
    """What moves memories between the tiers."""
    model = stores.embedder.model if stores.embedder else ""
    return Mover(stores.records, stores.archive, model=model)


async def end_moves(one: Mover, stop: asyncio.Event) -> None:
    """Waits for a while, then ends what moves were begun and not ended, by whomever. Once: who repeats it heeds a
    cancellation that was swallowed meanwhile."""
    if not await wait_for_stop(stop, MOVE_SWEEP_SECONDS):
        await one.sweep()


def tiering(stores: Stores, settings: Settings) -> Tiering:
    """What decides which memories move."""
    return Tiering(stores.records, mover(stores), settings.tiers, stores.clock)


def jobs(
    stores: Stores, settings: Settings, engine: Engine, recalling: Recalling, compression: Compression
) -> list[Job]:
    """What a daemon does by the clock. A job is one line here, and one in `model.job.TIMES`."""
    planner, forgetting, _ = _forgetters(stores, engine, recalling)
    retaining = Retaining(stores.records, stores.archive, planner, settings.retention, settings.tiers, stores.clock)
    looking = duplicates(stores, settings, engine)
    states, period, after = JobStates(stores.redis), settings.tier_sweep_seconds, settings.summaries_after_seconds
    quiet = QuietSessions(stores.records, compression.compressing, states, settings.tiers, stores.clock, after_seconds=after)

    def at(job: str, wanted: object) -> At | None:
        return time_of(job, settings.jobs) if wanted else None

    return [
        Job("tiers", Every(period) if period else None, tiering(stores, settings).counted_sweep),
        Job("days", at("days", settings.day_summaries), Nights(compression.days, stores.archive, stores.clock).run),
        Job("summaries", at("summaries", after), quiet.run),
        Job("retention", at("retention", settings.retention), PolicyForgetting(retaining, forgetting, states).run),
        Job("duplicates", at("duplicates", True), partial(looking.counted, merge=settings.merge_duplicates)),
    ]


def _documents(stores: Stores) -> DocumentStore:
    return DocumentStore(Documents(stores.redis, stores.keys), DocumentArchive(stores.archive), stores.clock)


def _episodes(stores: Stores, settings: Settings, engine: Engine, recalling: Recalling) -> EpisodeStore:
    records = stores.records
    log = EpisodeLog(stores.redis, stores.keys, settings.vector_type)
    archive = EpisodeArchive(stores.archive)
    return EpisodeStore(engine, recalling, records, log, archive, stores.clock)


def _tools(stores: Stores, settings: Settings) -> Tools:
    questions = KeptQuestions(stores.redis, settings.vector_type)
    return Tools(ToolCache(stores.redis, stores.keys), questions, stores.cache)


def _facts(stores: Stores, settings: Settings, engine: Engine) -> FactStore:
    hot = HotFacts(stores.redis, stores.keys, settings.vector_type)
    return FactStore(engine, stores.records, hot, FactArchive(stores.archive), stores.clock)


def _introspect(
    stores: Stores, recalling: Recalling, states: AgentStates, facts: FactStore, gaps: GapNotes
) -> Introspect:
    hot = HotSelf(stores.redis, stores.records)
    return Introspect(recalling, states, facts, gaps, ArchivedSelf(stores.archive), hot, stores.clock)


def _search(stores: Stores, settings: Settings) -> Search:
    width = settings.vector_ef_runtime if settings.vector_algorithm == "hnsw" else None
    return Search(stores.redis, ef_runtime=width, datatype=settings.vector_type)


def _forgetting(stores: Stores, engine: Engine, recalling: Recalling) -> ForgettingVerbs:
    """What forgets for agents."""
    _, forgetting, holders = _forgetters(stores, engine, recalling)
    book = ReceiptBook(Forgets(stores.redis), ReceiptArchive(stores.archive.database))
    return ForgettingVerbs(forgetting, book, Verifier(book, stores.records, stores.archive, holders, stores.clock))


def _forgetters(
    stores: Stores, engine: Engine, recalling: Recalling
) -> tuple[Planner, Forgetting, Sequence[Holder]]:
    """What plans a forget, and what carries it out. Whoever keeps something of what people said has a holder here."""
    documents = _documents(stores)
    states = AgentStates(documents, HotAgents(stores.redis, stores.keys))
    holders: list[Holder] = [
        SessionHolder(Sessions(documents, engine, Estimate())), AgentHolder(states, Chains(states)), DayHolder(documents),
        GapHolder(Gaps(stores.redis, stores.keys)), PassingHolder(Passing(stores.redis, stores.keys)),
        ChannelHolder(Channels(stores.redis, stores.keys)), Dictionaries(stores.archive),
        *([CachedVectors(stores.cache)] if stores.cache else []),
    ]  # fmt: skip
    planner = Planner(stores.records, stores.archive, recalling.recall, holders, stores.clock)
    return planner, Forgetting(stores.records, stores.archive, planner, holders, stores.clock), holders
