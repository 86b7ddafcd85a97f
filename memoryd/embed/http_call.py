"""One POST with the standard library: a proxy from the environment is used, a redirect is not followed."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from memoryd import limits
from memoryd.config import Settings
from memoryd.embed.protocol import ModelFailed
from memoryd.errors import ConfigError


@dataclass(frozen=True)
class Reply:
    """What an endpoint answered. The body is empty unless the status is 200."""

    status: int
    retry_after: str | None
    body: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the key and the texts to another host."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@dataclass(frozen=True, repr=False)  # a repr would show the key
class Endpoint:
    """Where to post, and with which key."""

    url: str
    key: str
    timeout_seconds: float
    what: str = "the embeddings endpoint"
    setting: str = "MEMORYD_EMBED_URL"

    @classmethod
    def of(cls, settings: Settings) -> Endpoint:
        """The configured endpoint. Raises ConfigError for a URL that cannot be one."""
        url = base_url("MEMORYD_EMBED_URL", settings.embed_url).removesuffix("/embeddings") + "/embeddings"
        return cls(url, settings.embed_key.get_secret_value(), settings.embed_timeout_seconds)

    def post(self, body: bytes) -> Reply:
        """Send `body`, wait for the answer. Blocks. Raises ModelFailed when there is none."""
        deadline = time.monotonic() + self.timeout_seconds
        opener = urllib.request.build_opener(_NoRedirect)
        try:
            with opener.open(self._request(body), timeout=self.timeout_seconds) as answer:
                return Reply(answer.status, None, _read(answer, deadline))
        except urllib.error.HTTPError as error:
            with error:
                return Reply(error.code, error.headers.get("Retry-After"), b"")
        except (OSError, http.client.HTTPException) as error:
            # The cause is left out: its text can hold the URL or what the endpoint said.
            message = f"{self.what} cannot be reached: {_why(error)}"
            hint = f"see that {self.setting} is right and that the endpoint runs"
            raise ModelFailed(message, retryable=True, hint=hint) from None

    def _request(self, body: bytes) -> urllib.request.Request:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "memoryd"}
        request = urllib.request.Request(self.url, body, headers)  # noqa: S310  # the scheme is checked in `of`
        if self.key:
            request.add_unredirected_header("Authorization", f"Bearer {self.key}")
        return request


def base_url(setting: str, url: str) -> str:
    """`url` without a slash at its end. Raises ConfigError for one that cannot be an endpoint's."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.query:
        raise ConfigError(
            f"{setting} must be an http(s) URL without user name and query",
            hint=f"for example https://api.openai.com/v1, with the key in {setting.replace('URL', 'KEY')}",
        )
    return url.rstrip("/")


def _read(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, within its time and size: urllib's own timeout starts anew with each byte."""
    body = bytearray()
    while chunk := answer.read1(65536):
        body += chunk
        if len(body) > limits.EMBED_REPLY_BYTES_MAX:
            raise ModelFailed("the endpoint's answer is too large", retryable=True)
        if time.monotonic() > deadline:
            raise TimeoutError("the answer came too slowly")
    said = answer.headers.get("Content-Length", "")
    if said.isdecimal() and len(body) < int(said):
        raise ConnectionError("the answer ended early")  # read1 takes a broken connection for the end
    return bytes(body)


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return (isinstance(reason, OSError) and reason.strerror) or type(reason).__name__
