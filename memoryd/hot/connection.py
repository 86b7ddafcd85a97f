"""redis-py's connections without what it does for every command of a pipeline: a timer, a task, packing in Python.

A recall reads some thirty answers that came in one piece, and redis-py starts and stops a timer for each; it sends from a task of
its own, so that a write that is stuck can be given up. Together they were a quarter of a recall's time in the daemon (measured).
Here that is done only where something has to be waited for. What goes wrong goes wrong as it does there.
"""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError
from redis.utils import HIREDIS_AVAILABLE

if HIREDIS_AVAILABLE:
    from hiredis import PushNotification, pack_command
    from redis._parsers.hiredis import NOT_ENOUGH_DATA

UNSENT_BYTES_MAX = 64 * 1024  # asyncio's own high-water mark: from there on a writer is to wait


class Pool(BlockingConnectionPool):
    """A pool that hands out a connection which lies ready without a lock and a timer, and none behind its end."""

    _closed = False

    async def aclose(self) -> None:
        """Ends its connections. What is under way on one fails, or redis-py opens it anew and sends it again: it is closed then."""
        self._closed = True
        await super().aclose()

    async def release(self, connection: Any) -> None:
        """Takes a connection back."""
        if self._closed:
            await connection.disconnect(nowait=True)
        await super().release(connection)

    async def ensure_connection(self, connection: Any) -> None:
        """Makes it ready to send. redis-py leaves one open that was cancelled while it greeted, also behind a closed pool."""
        if self._closed:
            raise RedisConnectionError("the client is closed")
        try:
            await super().ensure_connection(connection)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise

    async def get_connection(self, *_: Any, **__: Any) -> Any:
        """A connection that is ready to send, as soon as one is free."""
        if not self._available_connections:
            return await super().get_connection()  # type: ignore[no-untyped-call]
        connection = self.get_available_connection()  # type: ignore[no-untyped-call]
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection


def quick(connection: Any) -> Any:
    """The same class of connections, without these costs."""
    if not HIREDIS_AVAILABLE:  # an agent's own process may do without: all that it sends is small
        return connection
    return type(connection.__name__, (Quick, connection), {})


class Quick:
    """What is done otherwise; to be mixed into a class of connections."""

    _parser: Any
    _writer: Any
    is_connected: bool
    health_check_interval: float

    def pack_command(self, *args: Any) -> list[bytes]:
        """hiredis packs what is sent, as it parses what comes; redis-py does it in Python, argument by argument."""
        return [pack_command((*args[0].encode().split(), *args[1:]))]  # `CONFIG GET` is two words

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if not self.is_connected or self.health_check_interval or not isinstance(command, list):
            return await super().send_packed_command(command, check_health)  # type: ignore[misc,no-any-return]
        try:
            self._writer.writelines(command)
            unsent = self._writer.transport.get_write_buffer_size()
        except BaseException:
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise
        if unsent > UNSENT_BYTES_MAX:  # it does not take what it is sent: wait for that, in limits
            await super().send_packed_command([], check_health)  # type: ignore[misc]
        return None

    async def read_response(
        self, disable_decoding: bool = False, timeout: float | None = None, **options: Any
    ) -> Any:
        """What has come already is taken at once."""
        if timeout is None and self.is_connected and not self.health_check_interval:
            response = self._parser._reader.gets(*((False,) if disable_decoding else ()))
            if isinstance(response, PushNotification):
                await self._parser.handle_push_response(response)
            elif response is not NOT_ENOUGH_DATA:
                return await self._good(response)
        return await super().read_response(disable_decoding, timeout, **options)  # type: ignore[misc]

    async def _good(self, response: Any) -> Any:
        if isinstance(response, ResponseError):
            raise response
        first = response[0] if isinstance(response, list) and response else response
        if isinstance(first, RedisConnectionError):  # such as LOADING: this connection is of no use
            await self.disconnect(nowait=True)  # type: ignore[attr-defined]
            raise first
        return response
