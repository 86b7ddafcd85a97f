"""Bring a MongoDB database to the schemas in `mongo/*.json`: collections, validators, indexes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from pymongo import IndexModel, WriteConcern
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from memoryd_schemas.errors import SchemaError
from memoryd_schemas.fingerprint import fingerprint

SCHEMA_VERSION = 1
SCHEMA_ID = "schema"  # the document in sync_state that says which schema the database has
COLLECTIONS = (
    "memories", "versions", "dictionaries", "episodes", "sessions", "messages", "checkpoints", "agents", "agent_states", "days",
    "receipts", "sync_state", "traces", "metrics", "logs", "job_runs",
)  # fmt: skip
MAJORITY = WriteConcern("majority", wtimeout=10_000)  # a set without a majority is an error, not a daemon that hangs
NAMESPACE_EXISTS = 48
INDEX_CONFLICTS = (85, 86)  # IndexOptionsConflict, IndexKeySpecsConflict

Document = dict[str, Any]


async def apply_mongo(database: AsyncDatabase[Document]) -> list[str]:
    """Make collections, validators and indexes what the schemas say; returns what was done, in words.

    Idempotent, and safe when several daemons start at once. Stored documents and foreign indexes are never touched.
    Raises SchemaError, before anything is changed, when the database was written by a newer memoryd.
    """
    database = database.with_options(write_concern=MAJORITY)
    await _refuse_newer(database)
    validators = await _existing_validators(database)
    done = []
    for name in COLLECTIONS:
        wanted = collection_definition(name)
        done += await _apply_collection(database, wanted, validators)
        done += await _apply_indexes(database, wanted)
    await _record(database)
    return done


def collection_definition(name: str) -> Document:
    """One collection as in its file: `collection`, `validator`, `indexes`."""
    definition: Document = json.loads((files(__package__) / "mongo" / f"{name}.json").read_text("utf-8"))
    return definition


async def _refuse_newer(database: AsyncDatabase[Document]) -> None:
    stored = await database["sync_state"].find_one({"_id": SCHEMA_ID})
    if stored and stored["version"] > SCHEMA_VERSION:
        raise _newer(database.name)


async def _existing_validators(database: AsyncDatabase[Document]) -> Mapping[str, Document]:
    """What the server really holds: a collection that somebody dropped is born again without its validator."""
    cursor = await database.list_collections(filter={"name": {"$in": list(COLLECTIONS)}})
    return {c["name"]: c.get("options", {}).get("validator", {}) async for c in cursor}


async def _apply_collection(
    database: AsyncDatabase[Document], wanted: Document, validators: Mapping[str, Document]
) -> list[str]:
    name, validator = wanted["collection"], wanted["validator"]
    if name not in validators and await _create(database, name, validator):
        return [f"created collection {name}"]
    if validators.get(name) == validator:
        return []
    await database.command("collMod", name, validator=validator, writeConcern=MAJORITY.document)
    return [f"changed the validator of collection {name}"]


async def _create(database: AsyncDatabase[Document], name: str, validator: Document) -> bool:
    """False when somebody else made the collection meanwhile, perhaps without the validator."""
    try:
        await database.create_collection(name, validator=validator)
    except CollectionInvalid:  # the driver looked first
        return False
    except OperationFailure as error:
        if error.code != NAMESPACE_EXISTS:
            raise
        return False
    return True


async def _apply_indexes(database: AsyncDatabase[Document], wanted: Document) -> list[str]:
    name = wanted["collection"]
    existing = await database[name].index_information()
    missing = [index for index in wanted["indexes"] if index["name"] not in existing]
    if not missing:
        return []
    try:
        await database[name].create_indexes([_model(index) for index in missing])
    except OperationFailure as error:
        if error.code not in INDEX_CONFLICTS:
            raise
        raise _index_conflict(name, error) from error
    return [f"created index {index['name']} on {name}" for index in missing]


def _model(index: Document) -> IndexModel:
    return IndexModel(index["key"], name=index["name"], **index.get("options", {}))


async def _record(database: AsyncDatabase[Document]) -> None:
    """Note the schema, unless a newer memoryd noted its own while this one was at work."""
    shape = fingerprint([collection_definition(name) for name in COLLECTIONS])
    mine = {"_id": SCHEMA_ID, "version": {"$lte": SCHEMA_VERSION}}
    noted = {"$set": {"version": SCHEMA_VERSION, "fingerprint": shape}}
    try:
        await database["sync_state"].update_one(mine, noted, upsert=True)
    except DuplicateKeyError:
        await _refuse_newer(database)


def _newer(name: str) -> SchemaError:
    return SchemaError(
        f"the database {name} was written by a newer memoryd (this one knows schemas up to {SCHEMA_VERSION})",
        hint="upgrade this memoryd",
    )


def _index_conflict(name: str, error: OperationFailure) -> SchemaError:
    said = (error.details or {}).get("errmsg", "")
    return SchemaError(
        f"an index on {name} has the name or the key of one of memoryd's, and differs: {said}",
        hint=f"drop that index in mongosh (db.{name}.dropIndex) and start again",
    )
