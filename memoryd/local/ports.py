"""Ports of this machine's loopback."""

from __future__ import annotations

import asyncio
import socket
from random import randrange

from memoryd.errors import ServersUnavailable

# Below the ports that Linux gives to outgoing connections (from 32768): a client that retries a dead server's port
# could be given that very port as its own, be connected to itself, and keep the server from coming back.
FREE_PORTS = (12_000, 32_000)
FREED_WITHIN_SECONDS = 2.0  # a server whose parent was killed a moment ago is still being torn down by the kernel


def free_port() -> int:
    """A port that nobody listens on now."""
    while is_taken(port := randrange(*FREE_PORTS)):
        continue
    return port


def is_taken(port: int) -> bool:
    """Whether a server could not listen on this port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections that linger do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


async def is_listening(port: int) -> bool:
    """Whether a connection to this port is accepted."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def wait_until_free(port: int, server: str, option: str, variable: str) -> None:
    """Return when `server` can listen on `port`. Raises ServersUnavailable that names the option and the variable."""
    deadline = asyncio.get_running_loop().time() + FREED_WITHIN_SECONDS
    while is_taken(port):
        if asyncio.get_running_loop().time() > deadline:
            raise ServersUnavailable(
                f"port {port}, which {server} was to have, is in use",
                hint=f"choose another one with {option}, or use the server that is there: set {variable}",
                port=port,
            )
        await asyncio.sleep(0.05)
