"""Child processes that are waited for, that stop in time, and that never outlive us.

A child gets a session of its own, so that Ctrl-C in the terminal reaches only us and we decide the order of leaving.
On Linux the kernel kills it when we die, however we die; everywhere, `atexit` kills what a normal end has left.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Self

from memoryd.errors import ServersUnavailable

POLL_SECONDS = 0.02
STOP_SECONDS = 20.0  # a daemon drains within its verbs' time limits; a server needs about a second
LOG_BYTES_MAX = 16 * 1024 * 1024  # then the log becomes `<name>.1`: weeks of a laptop's use

# PR_SET_PDEATHSIG (1) is set by a tiny Python that then becomes the command: `preexec_fn` would run our code between
# fork and exec, which may deadlock in a process with threads. The kernel watches the *thread* that started the child,
# so children are started from the main thread. The second line is for a parent that died before the first.
# Shells allow 1,024 open files where the machine allows many more; MongoDB has one for each index, and panics at the limit.
_DIE_WITH_PARENT = """
import ctypes, os, resource, signal, sys
ctypes.CDLL(None).prctl(1, ctypes.c_ulong(signal.SIGKILL))
if os.getppid() != int(sys.argv[1]): sys.exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
os.execvp(sys.argv[2], sys.argv[2:])
"""


class Process:
    """A program that may be started, stopped, killed and started again. As a context manager it starts and stops."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self.command = command
        self.log = log
        self._environment = environment
        self._child: subprocess.Popen[bytes] | None = None
        self._log_start = 0  # what this run says begins here

    @property
    def alive(self) -> bool:
        """Whether it runs (a paused one does)."""
        return self._child is not None and self._child.poll() is None

    @property
    def pid(self) -> int:
        """Its process id, also after it has ended."""
        assert self._child is not None
        return self._child.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._child.poll() if self._child else None

    async def start(self) -> None:
        """Start it and wait until it is ready. Raises ServersUnavailable; then nothing is left running."""
        assert not self.alive
        try:
            self.launch()
            await self.wait_until_ready()
        except BaseException:
            self.kill()
            raise

    def launch(self) -> None:
        """Start it and return at once."""
        with open_log(self.log) as log:
            self._log_start = log.tell()
            self._child = subprocess.Popen(  # noqa: S603 - the command is ours or a server that was found on PATH
                dying_with_us(self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        _running.add(self)

    async def wait_until_ready(self) -> None:
        """Return when it can be used. A plain process can be used at once."""

    async def stop(self) -> None:
        """Ask it to end (SIGTERM), and kill it when it takes longer than STOP_SECONDS or when we are cancelled."""
        try:
            self.resume()  # a paused process would not see the signal
            self._signal(signal.SIGTERM)
            await self._ended()
        finally:
            self.kill()

    async def restart(self) -> None:
        """Stop it and start it again, with the same command, port and data."""
        await self.stop()
        await self.start()

    def kill(self) -> None:
        """End it and its own children at once (SIGKILL). Does nothing to one that has ended."""
        self._signal(signal.SIGKILL)
        if self._child:
            self._child.wait()
        _running.discard(self)

    def pause(self) -> None:
        """Stop the clock for it (SIGSTOP): it keeps its connections and answers nobody."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused one go on (SIGCONT)."""
        self._signal(signal.SIGCONT)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _signal(self, number: signal.Signals) -> None:
        if self.alive:
            os.killpg(self.pid, number)

    async def _ended(self) -> None:
        for _ in range(round(STOP_SECONDS / POLL_SECONDS)):
            if not self.alive:
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _wait_for(self, is_ready: Callable[[], Awaitable[bool]], within_seconds: float) -> None:
        deadline = asyncio.get_running_loop().time() + within_seconds
        while not await is_ready():
            if not self.alive:
                raise self.failed(f"ended with exit code {self.exit_code} before it was ready")
            if asyncio.get_running_loop().time() > deadline:
                raise self.failed(f"was not ready within {within_seconds:.0f} s")
            await asyncio.sleep(POLL_SECONDS)

    def failed(self, what: str) -> ServersUnavailable:
        """The error that says what happened to it and where to read on."""
        return ServersUnavailable(f"{self.name} {what}", hint=f"its log says why: {self.log}")


# Whose children these are is the operating system's business, hence the process's: like its own table, one set for all.
_running: set[Process] = set()


@atexit.register
def kill_all() -> None:
    """End every process that is still running, at once."""
    for process in tuple(_running):
        process.kill()


def dying_with_us(command: Sequence[str]) -> list[str]:
    """The command as one that the kernel kills when we die; elsewhere than on Linux as it is."""
    if sys.platform != "linux":
        return list(command)
    return [sys.executable, "-I", "-S", "-c", _DIE_WITH_PARENT, str(os.getpid()), *command]


def open_log(path: Path) -> IO[bytes]:
    """The log of a child, to be written on; a long one begins anew."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > LOG_BYTES_MAX:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")
