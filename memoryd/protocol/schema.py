"""The protocol as JSON Schemas, for authors of clients: `python -m memoryd.protocol.schema` writes them.

msgspec gives the shapes. What it does not know is in `SAYS`: what a field means, and the limits that `check` enforces.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from memoryd.limits import (
    CONTENT_BYTES_MAX,
    CURSOR_BYTES_MAX,
    FACET_BYTES_MAX,
    FACETS_MAX,
    METADATA_BYTES_MAX,
    METADATA_DEPTH_MAX,
    NAME_BYTES_MAX,
    PLACE_BYTES_MAX,
    QUERY_BYTES_MAX,
    REFERENCES_MAX,
    STORE_MANY_MAX,
    TAGS_MAX,
)
from memoryd.model.events import Hint
from memoryd.model.ids import ID_PATTERN
from memoryd.protocol import messages
from memoryd.protocol.messages import CLIENT_NAME, VERSION, Envelope, Problem, Reply
from memoryd.protocol.verbs import FORMS
from memoryd.protocol.verbs import SAYS as SAID_OF_VERBS

Schema = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"


MESSAGES: dict[str, Any] = {
    "envelope": messages.shown(Envelope, "args", dict[str, Any], {}), "reply": Reply, "event": Hint, "problem": Problem,
}  # fmt: skip
# A limit in bytes of UTF-8 is at least a limit in characters, which is what JSON Schema counts.
_ID = {"pattern": f"^{ID_PATTERN.pattern}$"}
_IDS = {"items": {"type": "string", **_ID}, "maxItems": REFERENCES_MAX}
_NAME = {"maxLength": NAME_BYTES_MAX}
_NAME_SAYS = f"at most {NAME_BYTES_MAX} bytes of UTF-8, no control characters"
_GIVEN: dict[str, Schema] = {
    "content": {
        "minLength": 1,
        "maxLength": CONTENT_BYTES_MAX,
        "description": f"the text to remember: 1 to {CONTENT_BYTES_MAX} bytes of UTF-8, not only spaces, no NUL",
    },
    "importance": {"description": "0 to 1"},
    "metadata": {
        "description": f"a JSON object: at most {METADATA_BYTES_MAX} bytes and {METADATA_DEPTH_MAX} levels, "
        "whole numbers of at most 64 bits"
    },
    "tags": {
        "items": {"type": "string", "minLength": 1, **_NAME},
        "maxItems": TAGS_MAX,
        "description": f"at most {TAGS_MAX}, each {_NAME_SAYS}",
    },
    "source_tool": {**_NAME, "description": f"the tool that it came from: {_NAME_SAYS}"},
    "related": {**_IDS, "description": f"ids of related memories, at most {REFERENCES_MAX}"},
    "derived_from": {**_IDS, "description": f"ids of the memories that it was made of, at most {REFERENCES_MAX}"},
    "valid_from": {"description": "since when it is true: RFC 3339 with a zone"},
    "valid_until": {"description": "until when it is true: RFC 3339 with a zone, null for no end"},
}
_NEW: dict[str, Schema] = {
    **_GIVEN,
    "type": {"description": "what kind of thing it is"},
    "session": {**_NAME, "description": f"its session, when the scope names none; {_NAME_SAYS}"},
    "valid_from": {"description": "since when it is true: RFC 3339 with a zone; the time of the store without it"},
    "dedup": {"description": "whether the same content is the same memory; null: by type (all but episodic)"},
}
_DURABILITY = {
    "durability": {
        "description": "acknowledge when Redis has it (hot), its disk (fsync), a majority of MongoDB (archived)"
    }
}
_WAIT = {"wait": {"description": "acknowledge only when it is found by its meaning, too (searchable); null: do not wait"}}
_MEMORY_ID = {"id": {**_ID, "description": "the memory's id"}}

_AMONG: dict[str, Schema] = {
    "types": {"description": "only memories of one of these types; empty: all"},
    "agent": {**_NAME, "description": "only memories of this agent, where the scope names none; null: as the scope says"},
    "session": {**_NAME, "description": "only memories of this session; null: as the scope says"},
    "tags": {
        "items": {"type": "string", "minLength": 1, **_NAME},
        "description": "only memories with at least one of these tags; empty: all",
    },
    "tiers": {"description": "only memories of one of these tiers; empty: all"},
    "metadata": {
        "maxProperties": FACETS_MAX,
        "description": "only memories whose metadata has each of these names at its top level, with that value or one of the "
        f"list. Of a memory the first {FACETS_MAX} texts, whole numbers and booleans of at most {FACET_BYTES_MAX} bytes count",
    },
    "valid_since": {
        "description": "only what was true then or later: what ends later, or has no end; an event without an end is a moment"
    },
    "valid_before": {"description": "only what has been true before then"},
    "recorded_since": {"description": "only memories whose current version was written then or later"},
    "recorded_before": {"description": "only memories whose current version was written before then"},
}
_HOW: dict[str, Schema] = {
    "deep": {
        "description": "whether the tier archive is searched too, by meaning; slower, and with a limit of time (`missing`)"
    },
    "rerank": {"description": "whether the daemon's cross-encoder reads the best candidates too, if it has one"},
    "profile": {
        "description": "by which weights: conversation, facts, recent, or one of the configuration; empty: by the types"
    },
    "min_likeness": {
        "description": "only hits at least so alike in meaning, 0 to 1 whatever else was found; word for word is 1, "
        "without a vector it is 0"
    },
    "diversity": {"description": "0: best first; more: what repeats a hit before it comes later (it has `alike` in `why`)"},
    "deadline_ms": {
        "description": "answer with what is found by then, and say in `missing` what is not whole; null: no hurry"
    },
}

SAYS: dict[str, dict[str, Schema]] = {
    "Envelope": {
        "v": {"const": VERSION, "description": "the protocol's version"},
        "id": {"description": "the request's id, chosen by the client; a repeat of a request carries the same one"},
        "op": {"enum": list(FORMS), "description": "the verb"},
        "scope": {"description": "whose memories"},
        "args": {"type": "object", "description": "the verb's arguments: see `<verb>.args.json`"},
        "reply_to": {
            "pattern": f"^({CLIENT_NAME.pattern})?$",
            "description": "the client's name; the answer is published to `aether:replies:<name>`. Empty: no answer",
        },
        "traceparent": {"description": "the trace of the caller (W3C Trace Context); empty: none"},
    },
    "Scope": {
        "tenant": {"minLength": 1, **_NAME, "description": _NAME_SAYS},
        "project": {"minLength": 1, **_NAME, "description": _NAME_SAYS},
        "agent": {**_NAME, "description": f"empty: all agents of the project; {_NAME_SAYS}"},
        "session": {**_NAME, "description": f"empty: all sessions; {_NAME_SAYS}"},
    },
    "Reply": {
        "v": {"const": VERSION, "description": "the protocol's version"},
        "id": {"description": "the request's id (the entry's field `id` when the envelope could not be read)"},
        "ok": {"description": "true: `result` is there; false: `error` is"},
        "error": {"description": "a problem, see below"},
        "result": {"description": "see `<verb>.result.json`"},
    },
    "Problem": {
        "code": {"description": "which kind of error, for programs"},
        "message": {"description": "what is wrong, for people; never quotes a memory's text"},
        "hint": {"description": "what to do next"},
        "details": {"description": "the facts of this kind of error"},
    },
    "Hint": {
        "v": {"const": VERSION, "description": "the protocol's version"},
        "op": {
            "enum": ["stored", "updated", "moved", "embedded", "touched", "judged", "forgotten"], "description": "what happened",
        },
        "id": {**_ID, "description": "the memory that changed"},
        "type": {"description": "its type"},
        "session": {"description": "its session, empty when it has none"},
        "version": {"description": "the version that it has now"},
        "entry": {"description": "the journal entry of the change; empty when the change came from the archive"},
        "at": {"description": "where it is kept; the same for an event that is told twice, as a hint and by `events`"},
        "traceparent": {"description": "the span that caused the change, to link to; left out where nothing is traced"},
    },
    "EventsArgs": {
        "after": {
            "maxLength": PLACE_BYTES_MAX,
            "description": "the `next` of an earlier answer; null: no events, only the place of now",
        },
        "limit": {"description": "how many events at most"},
    },
    "EventsPage": {
        "events": {"description": "those of the scope behind `after`, each memory's in their order"},
        "next": {"description": "the place behind them: opaque text, the next request's `after`"},
        "more": {"description": "whether to ask on at once"},
        "gap": {
            "description": "true: events behind `after` are gone. Then `events` is empty and `next` the place of now: "
            "go on from there, and read anew what you need to know"
        },
    },
    "NewMemory": _NEW,
    "StoreArgs": {**_NEW, **_DURABILITY, **_WAIT},
    "StoreManyArgs": {
        "memories": {
            "maxItems": STORE_MANY_MAX,
            "description": f"at most {STORE_MANY_MAX}; each is checked on its own, and a wrong one does not stop the others",
        },
        **_DURABILITY,
        **_WAIT,
    },
    "GetArgs": _MEMORY_ID,
    "Question": {
        **_AMONG,
        **_HOW,
        "query": {
            "minLength": 1,
            "maxLength": QUERY_BYTES_MAX,
            "description": f"a question or some words, never a query language: 1 to {QUERY_BYTES_MAX} bytes of UTF-8, no NUL",
        },
        "limit": {"description": "how many hits at most; of each page with a cursor"},
        "min_score": {"description": "only hits with at least this score, which compares hits of one answer; null: all"},
        "per_session": {
            "description": "session by session, the one with the best hit first, at most so many of each; null: best first"
        },
        "cursor": {
            "maxLength": CURSOR_BYTES_MAX,
            "description": "null: no pages; empty: the first page, whose `next` leads on; else the `next` of the page before",
        },
    },
    "ContextRecall": {**_AMONG, **_HOW},
    "CountArgs": {
        **_AMONG,
        "query": {"maxLength": QUERY_BYTES_MAX, "description": "count those with one of its words, too; empty: do not"},
    },
    "Counted": {
        "memories": {"description": "memories of the scope that pass the filters and live in Redis"},
        "with_words": {"description": "how many of them have one of the query's words; null without a query"},
    },
    "UpdateArgs": {
        **_MEMORY_ID,
        "changes": {"minProperties": 1, "description": "what to change; what is left out stays as it is"},
        "if_version": {"description": "only if this is still the memory's version; null: whatever it is"},
        **_DURABILITY,
        **_WAIT,
    },
    "Changes": _GIVEN,
    "Stored": {
        "id": {**_ID, "description": "the memory's id"},
        "version": {"description": "the version that it has now"},
        "outcome": {
            "enum": ["stored", "reinforced", "updated", "unchanged"],
            "description": "stored: it is new; reinforced: the same content was there already; updated; unchanged: a share was "
            "so already",
        },
        "durability": {"description": "what it has survived"},
        "replayed": {"description": "whether this is the first answer to a repeated request"},
    },
    "Memory": {
        "id": {**_ID, "description": "`mem_` and 32 hex digits"},
        "tenant": {"description": "where it was stored, with `project`, `agent_id` and `session_id`"},
        "agent_id": {"description": "empty: the project's, no agent's"},
        "session_id": {"description": "empty: in no session"},
        "memory_type": {"description": "what kind of thing it is"},
        "tier": {"description": "where it lives"},
        "content": {"description": "as it was given"},
        "content_hash": {"description": "SHA-256 of the normalised content, in hex"},
        "importance": {"description": "0 to 1"},
        "created_at": {"description": "when it was stored first"},
        "last_accessed": {"description": "when the same content was stored last"},
        "access_count": {"description": "how often the same content was stored again"},
        "version": {"description": "counts its changes, from 1"},
        "valid_from": {"description": "since when it is true"},
        "valid_until": {"description": "until when it is true, null for no end"},
        "recorded_at": {"description": "when this version was written"},
        "follows": {"description": "the events before it in its session, nearest first, at most two"},
        "context": {"description": "counts how often the events whose words its vector has read have changed since it was stored"},
        "feedback": {"description": "what was said of its use; null: nothing"},
        "shared_with": {"description": "which agents of the project see it besides its own"},
        "embedding_model": {"description": "the model of its vector; empty: it is pending, and is found by its words only"},
    },
    "Hit": {
        "score": {"description": "the sum of the contributions in `why`; comparable within one answer only"},
        "why": {"description": "the parts, by signal: words, neighbours, session, expansion, speaker, meaning, …"},
        "shared": {"description": "whether it is not the scope's own: its agent (empty: the project) shares it"},
        "found_by": {"description": "which searches brought it: quote (it is the query word for word), words, meaning"},
    },
    "Part": {
        "value": {"description": "what the signal says: for instance a cosine, or a BM25"},
        "weight": {"description": "what it weighs in this profile"},
        "contribution": {"description": "how much of the score it makes"},
    },
    "Recalled": {
        "hits": {"description": "best first"},
        "searched": {"description": "by what was searched: words, meaning; archive: the tier of that name, by meaning"},
        "profile": {"description": "by which weights"},
        "degraded": {"description": "why something was not searched; empty when all was"},
        "recall_id": {"description": "names this recall in `feedback`, for a day; empty where Redis had no room to note it"},
        "missing": {
            "description": "what is not whole: words, meaning (a time limit came first; words also while an emptied Redis is "
            "filled), long, archive (MongoDB has not answered)"
        },
        "next": {"description": "the next page's `cursor`; empty when nothing is left, or no pages were asked for"},
    },
    "Receipt": {
        "id": {**_ID, "description": "the memory that is gone"},
        "version": {"description": "the tombstone's version"},
        "outcome": {"enum": ["forgotten", "already"], "description": "already: it had been forgotten before"},
        "forgotten_at": {"description": "when it was forgotten first"},
        "journal_entries_removed": {"description": "entries with text that were removed"},
        "durability": {"description": "archived: MongoDB has removed it too; otherwise that follows"},
        "derived": {"description": "memories that were made of it and went with it at once"},
        "receipt": {"description": "the full receipt's id, for `receipt`; empty when there was nothing left to forget"},
    },
    "Stats": {
        "memories": {"description": "memories of the scope that live in Redis"},
        "by_type": {"description": "the same, by type"},
        "by_tier": {"description": "the same, by tier"},
        "shared": {"description": "memories of other agents that are shared with the scope's, in none of the other counts"},
        "pending": {"description": "memories of the scope that wait for their vector"},
        "archive": {"description": "MongoDB as the daemon sees it, and the scope's memories there"},
        "embedder": {"description": "the embedding model; null: recall by words only"},
        "embed_backlog": {"description": "journal entries that wait for the embedding follower, of all scopes"},
        "archive_backlog": {"description": "journal entries that MongoDB does not hold yet, of all scopes"},
        "dead_letters": {"description": "entries that were given up, of all scopes"},
        "requests_backlog": {"description": "requests that are not answered yet"},
        "filters": {"description": "the filters of `seen` (contents) and `seen_query` (questions), of all scopes"},
    },
    "EmbedderStats": {"failing": {"description": "the kind of the last failure, empty when the last call worked"}},
    "ArchiveStats": {"memories": {"description": "null when MongoDB does not answer"}},
    **SAID_OF_VERBS,
}  # fmt: skip

_TIMES = frozenset({
    "valid_from", "valid_until", "created_at", "last_accessed", "recorded_at", "forgotten_at", "at", "updated_at",
    "before", "asked_at", "finished_at", "valid_since", "valid_before", "recorded_since", "recorded_before",
})  # fmt: skip


def schemas() -> dict[str, Schema]:
    """Every message's schema, by the name of its file without `.json`."""
    named = {
        **MESSAGES,
        **{f"{verb}.args": form.shown or form.args for verb, form in FORMS.items()},
        **{f"{verb}.result": form.result for verb, form in FORMS.items()},
    }
    # What the daemon writes has all its fields, also those with a default; only a problem leaves out what is empty.
    written = {"event", *(f"{verb}.result" for verb in FORMS)}
    return {
        name: _schema(kind, f"memoryd protocol {VERSION}: {name}", whole=name in written)
        for name, kind in named.items()
    }


def _schema(kind: Any, title: str, *, whole: bool) -> Schema:
    """One message: msgspec's schema, its root first, completed by `SAYS`."""
    [root], parts = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    for name, part in parts.items():
        _complete(name, part, whole=whole)
    if "$ref" in root:
        root = parts.pop(root["$ref"].rpartition("/")[2])
    document = {"$schema": DIALECT, **root, "title": title}
    return {**document, "$defs": dict(sorted(parts.items()))} if parts else document


_LEFT_OUT = {("Hint", "traceparent")}  # of what is said whole: where nothing is traced


def _complete(name: str, part: Schema, *, whole: bool) -> None:
    fields: Schema = part.get("properties", {})
    if "description" in part:
        part["description"] = inspect.cleandoc(part["description"])
    for field in fields.keys() & _TIMES:
        _limit(fields[field], {"format": "date-time"})
    for field, says in SAYS.get(name, {}).items():
        _limit(fields[field], {key: value for key, value in says.items() if key != "description"})
        fields[field] |= {key: value for key, value in says.items() if key == "description"}
    if name == "StoredOrError":
        part |= {"minProperties": 1, "maxProperties": 1}
    elif whole and fields and name != "Problem":
        part["required"] = [field for field in fields if (name, field) not in _LEFT_OUT]


def _limit(field: Schema, limits: Schema) -> None:
    """Limits of a value that may also be null go to its other alternative."""
    next((one for one in field.get("anyOf", []) if one != {"type": "null"}), field).update(limits)


def written() -> Iterator[tuple[str, str]]:
    """Each file's name and text."""
    for name, schema in schemas().items():
        yield f"{name}.json", json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def main() -> None:
    """Writes the files into the package that carries them."""
    folder = Path(str(files("memoryd_schemas"))) / "protocol"
    for old in folder.glob("*.json"):
        old.unlink()
    for name, text in written():
        (folder / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
