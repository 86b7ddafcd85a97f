"""Connections to MongoDB, and its errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from bson.errors import BSONError
from pymongo import AsyncMongoClient
from pymongo.errors import BulkWriteError, ConnectionFailure, ExecutionTimeout, PyMongoError
from pymongo.write_concern import WriteConcern

from memoryd.archive.codec import Document
from memoryd.archive.driver import mend_waits
from memoryd.errors import ArchiveUnavailable, MemorydError

DUPLICATE_KEY = 11000
# The server's state is the reason, not what was asked: it is going away, is no longer primary, has no majority, no time, no
# room on its disk, or has lost a cursor or its session by a restart (PyMongo then asks on without one: PYTHON-5436). The
# same succeeds later, or on the next one.
NOT_NOW = frozenset({
    6, 7, 24, 43, 50, 64, 89, 91, 100, 112, 133, 134, 189, 202, 262, 9001, 10107, 11600, 11601, 11602, 13435, 13436,
    14031, 50736, 50737, 50738,
})  # fmt: skip
NOT_ALLOWED = frozenset({13, 18})  # nor is it the reason when we may not write at all
# A write counts when a majority has it in its journal: it survives the loss of any one server.
MAJORITY = WriteConcern(w="majority", j=True, wtimeout=10_000)


def open_mongo(url: str) -> AsyncMongoClient[Document]:
    """A client that gives up on an absent server after 2 s: its callers have a backlog or a degraded answer."""
    mend_waits()
    return AsyncMongoClient(
        url, serverSelectionTimeoutMS=2_000, connectTimeoutMS=2_000, socketTimeoutMS=20_000, maxPoolSize=32
    )


class ArchiveRefused(MemorydError):
    """MongoDB answers, and refuses this."""

    @property
    def for_its_content(self) -> bool:
        """Whether another document might be taken."""
        return self.details["mongo_code"] not in NOT_ALLOWED


@contextmanager
def archive_errors(doing: str) -> Iterator[None]:
    """Turns the driver's errors into ours. Their own text may quote documents."""
    try:
        yield
    except (ConnectionFailure, ExecutionTimeout) as error:
        raise ArchiveUnavailable(f"{doing}: MongoDB does not answer ({type(error).__name__})") from error
    except (PyMongoError, BSONError) as error:
        code = _code_of(error)
        if code in NOT_NOW:
            raise ArchiveUnavailable(f"{doing}: MongoDB cannot do it now (code {code})") from error
        what = f"{doing}: MongoDB refused ({type(error).__name__}, code {code})"
        raise ArchiveRefused(what, mongo_code=code) from error


def _code_of(error: Exception) -> int | None:
    """MongoDB's code; of a bulk write the first write's, because its own says only that it was one."""
    if isinstance(error, BulkWriteError):
        codes: list[int] = [one["code"] for one in error.details["writeErrors"] if one["code"] != DUPLICATE_KEY]
        return codes[0]
    return getattr(error, "code", None)
