"""Redis Insight's Query Library over its HTTP API: what is missing is added, what has changed is replaced."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlsplit

from memoryd.errors import BadRequest, ServersUnavailable
from memoryd.insight.library import SavedQuery

ANSWER_SECONDS = 10.0  # of one call to a local web application
ANSWER_BYTES_MAX = 8 * 1024 * 1024  # a library of thousands of queries


@dataclass
class Seeded:
    """What a seeding has done."""

    added: int = 0
    replaced: int = 0
    unchanged: int = 0


class Library:
    """The Query Library of one database of one Redis Insight (3.4 or later)."""

    def __init__(self, url: str, database: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadRequest("insight-url: expected an http(s) URL, for example http://127.0.0.1:5540", field="insight-url")
        self._base = f"{url.rstrip('/')}/api/databases/{quote(database, safe='')}/query-library"

    def seed(self, queries: Sequence[SavedQuery]) -> Seeded:
        """Makes the library hold these queries as they are now; others are left alone. Blocks. Raises ServersUnavailable.

        The first time, an index's queries go in together: Insight takes samples for an index once, and looks only at the
        first one's index.
        """
        done = Seeded()
        for index, some in groupby(sorted(queries, key=lambda one: one.index), key=lambda one: one.index):
            wanted = [_item(one) for one in some]
            held = {one["name"]: one for one in self._call("GET", f"?indexName={quote(index, safe='')}")}
            if not held:
                self._call("POST", "/seed", {"items": wanted})
                done.added += len(wanted)
                continue
            for item in wanted:
                self._put(item, held.get(item["name"]), done)
        return done

    def _put(self, item: dict[str, str], held: dict[str, Any] | None, done: Seeded) -> None:
        if held is None:
            self._call("POST", "", item)
            done.added += 1
        elif all(held.get(name) == value for name, value in item.items()):
            done.unchanged += 1
        else:
            changed = {name: item[name] for name in ("name", "description", "query")}
            self._call("PATCH", f"/{quote(str(held['id']), safe='')}", changed)
            done.replaced += 1

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        request = urllib.request.Request(self._base + path, data, headers, method=method)  # noqa: S310  # checked above
        try:
            with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
                return json.loads(answer.read(ANSWER_BYTES_MAX) or b"null")
        except urllib.error.HTTPError as error:
            with error:
                raise _refused(error.code) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise ServersUnavailable(
                f"Redis Insight does not answer ({type(error).__name__})",
                hint="see that it runs and that --insight-url is right; `memoryd insight list` prints the queries to paste",
            ) from None


def _item(query: SavedQuery) -> dict[str, str]:
    held = asdict(query)
    return {"indexName": held["index"], "name": held["name"], "description": held["about"], "query": held["text"]}


def _refused(status: int) -> ServersUnavailable:
    if status == http.client.NOT_FOUND:
        return ServersUnavailable(
            "Redis Insight knows no such database, or is older than 3.4 and has no Query Library",
            hint="--db takes the id that its address shows after /redis/… ; in docker compose it is 0",
        )
    return ServersUnavailable(f"Redis Insight refused the queries (HTTP {status})")
