"""What `store` costs, beside the atomic step that it stands on: rates in a closed loop, latencies at fixed rates.

    python -m bench.store [--rounds 5] [--stores 1000] [--rates 50,100,200] [--seconds 3] [--embedder none] [--json FILE]

It starts its own Redis, MongoDB, daemon and sync, and a load generator, each a process. Three ways take turns with the same
contents: `protocol` is the client's verb through the daemon, with durability hot; `step` the daemon's own script, called by its SHA
through redis-py with arguments that are at hand; `plain` the least that anybody could do, a script of one HSET (the same
fields under a key that the same index takes) and one XADD. Before each turn the followers have done all that there was to do.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from bench import harness, load
from bench.harness import Running, by_name, quantiles, ratio, running, spread, turns
from memoryd import connect
from memoryd.config import load_settings
from memoryd.hot import scripts
from memoryd.hot.codec import record_fields
from memoryd.hot.records import Records
from memoryd.hot.storing import store_call
from memoryd.keys import Keys
from memoryd.model.record import Record

PROMISED_SHARE = 0.35  # of the raw script's rate, with 16 clients
PROTOCOL, STEP, PLAIN = "protocol", "step", "plain"
WAYS = (PROTOCOL, STEP, PLAIN)
CLIENTS = (1, 16)
ALONE = 4  # so much fewer stores of one client: it is slower
PLAIN_SCRIPT = "redis.call('HSET', KEYS[1], unpack(ARGV)) return redis.call('XADD', KEYS[2], '*', unpack(ARGV))"


@dataclass(frozen=True)
class Slice:
    """One turn of one way: so many stores into a project of its own, in a closed loop or at a `rate`."""

    url: str
    way: str
    project: str
    stores: int
    clients: int
    rate: float | None = None


async def store(one: Slice) -> load.Load:
    """The turn, in the generator. What can be made ready before the clock runs is."""
    opened = _protocol(one) if one.way == PROTOCOL else _raw(one)
    async with opened as call:
        if one.rate is None:
            return await load.closed(call, one.stores, one.clients)
        return await load.paced(call, one.stores, one.rate, one.clients)


@asynccontextmanager
async def _protocol(one: Slice) -> AsyncIterator[load.Call]:
    contents = list(itertools.islice(harness.sentences(), one.stores))
    async with AsyncExitStack() as stack:
        opened = [connect(one.url, tenant="bench", project=one.project, agent=f"agent{n}") for n in range(one.clients)]
        memories = [await stack.enter_async_context(memory) for memory in opened]
        yield lambda client, number: memories[client].store(contents[number], type="episodic")


@asynccontextmanager
async def _raw(one: Slice) -> AsyncIterator[load.Call]:
    source = scripts.store.source if one.way == STEP else PLAIN_SCRIPT
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Redis.from_url(one.url)) for _ in range(one.clients)]
        sha: Any = await clients[0].script_load(source)
        calls = _calls(one, Records(clients[0], Keys(load_settings().buckets)))

        async def call(client: int, number: int) -> None:
            keys, args = calls[number]
            await clients[client].evalsha(sha, len(keys), *keys, *args)

        yield call


def _calls(one: Slice, records: Records) -> list[scripts.Call]:
    """Keys and arguments of every call."""
    calls = []
    for new in harness.new_records(records, one.project, one.stores):
        keys, args = store_call(records, new)
        if one.way == PLAIN:
            fields = record_fields(Record(new.memory), records.datatype)
            keys, args = [keys[0], "bench:journal"], [part for pair in fields.items() for part in pair]
        calls.append((keys, args))
    return calls


async def at_full_speed(parts: Running, generate: load.Generator, clients: int, rounds: int, stores: int) -> dict[str, Any]:
    """What the clients reach in a closed loop, by way, and which share of the others `store` is."""
    loads: dict[str, list[load.Load]] = {way: [] for way in WAYS}
    for number in range(rounds):
        for way in turns(WAYS, number):
            await parts.drained()
            loads[way].append(await generate(store, Slice(parts.url, way, f"{way}-{clients}-{number}", stores, clients)))
    rates = {way: [one.rate for one in some] for way, some in loads.items()}
    told: dict[str, Any] = {
        way: {"per_second": spread(rates[way]), **by_name([quantiles(one.milliseconds) for one in some])}
        for way, some in loads.items()
    }
    return {**told, "share_of_step": ratio(rates[PROTOCOL], rates[STEP]), "share_of_plain": ratio(rates[PROTOCOL], rates[PLAIN])}


async def at_rate(parts: Running, generate: load.Generator, rate: float, rounds: int, seconds: float) -> dict[str, Any]:
    """What a store takes from when it is due, whatever became of those before it."""
    loads: dict[str, list[load.Load]] = {way: [] for way in (PROTOCOL, STEP)}
    for number in range(rounds):
        for way in turns(tuple(loads), number):
            await parts.drained()
            one = Slice(parts.url, way, f"{way}-{rate}-{number}", max(2, round(rate * seconds)), max(CLIENTS), rate)
            loads[way].append(await generate(store, one))
    return {
        way: {"per_second": spread([one.rate for one in some]), **by_name([quantiles(one.milliseconds) for one in some])}
        for way, some in loads.items()
    }


async def run(arguments: argparse.Namespace) -> dict[str, Any]:
    rates: Sequence[float] = [float(one) for one in arguments.rates.split(",") if one]
    async with (
        running(embedder=arguments.embedder, sync=not arguments.without_sync, daemons=arguments.daemons) as parts,
        load.generator() as generate,
    ):
        for way in WAYS:  # neither the scripts nor the daemon are met for the first time on the clock
            await generate(store, Slice(parts.url, way, f"{way}-warm", min(200, arguments.stores), max(CLIENTS)))
        closed = {
            str(clients): await at_full_speed(
                parts, generate, clients, arguments.rounds, arguments.stores if clients > 1 else max(2, arguments.stores // ALONE)
            )
            for clients in CLIENTS
        }
        paced = {f"{rate:g}": await at_rate(parts, generate, rate, arguments.rounds, arguments.seconds) for rate in rates}
        versions = await parts.versions()
    shares = closed[str(max(CLIENTS))]["share_of_step"]
    kept = harness.promise("`store`, 16 clients, durability hot: of the raw script's rate", shares, least=PROMISED_SHARE)
    return {"servers": versions, "clients": closed, "at_a_rate": paced, "promises": [kept]}


def options() -> argparse.ArgumentParser:
    parser = harness.options(__doc__)
    harness.with_daemons(parser)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--stores", type=int, default=1000, help="of a turn with 16 clients; one client makes a quarter of them")
    parser.add_argument("--rates", default="50,100,200", help="stores a second of the open loop, after commas")
    parser.add_argument("--seconds", type=float, default=3, help="of a turn at a fixed rate")
    parser.add_argument("--embedder", choices=("none", "hashed", "auto"), default="none")
    parser.add_argument("--without-sync", action="store_true", help="nothing is archived meanwhile")
    return parser


if __name__ == "__main__":
    harness.main(options(), run)
