"""With OpenTelemetry's switch for content the daemon's spans of verbs say what was asked and remembered, redacted; no others do."""

from __future__ import annotations

import json
import sys
from types import ModuleType

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind

import memoryd_telemetry.text
from memoryd.model.results import Stored
from memoryd_telemetry.kept import KeptSpans
from memoryd_telemetry.text import SWITCH
from tests.integration.test_tracing import verb_of
from tests.world import World

CARD = "4111 1111 1111 1111"
QUERY, RECORDS = "gen_ai.memory.query.text", "gen_ai.memory.records"


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a daemon starts: it looks once."""
    monkeypatch.setenv(SWITCH, "SPAN_ONLY")


def told(span: ReadableSpan) -> list[tuple[str, str]]:
    """The records of a span."""
    return [(one["id"], one["content"]) for one in json.loads(str((span.attributes or {})[RECORDS]))]


async def test_verbs_say_what_was_asked_and_remembered_without_what_is_redacted(unsynced: World, spans: list[ReadableSpan]) -> None:
    """The daemon's spans of writes, reads and searches; neither the client's nor any part inside, nor what memoryd keeps."""
    async with unsynced.connect() as memory:
        kept = await memory.store("Ada's mail is ada@tea.example.", type="fact")
        both = await memory.store_many([{"content": "Ada sails."}, {"content": f"Her card is {CARD}."}])
        one, two = (stored for stored in both if isinstance(stored, Stored))
        await memory.get(kept.id)
        await memory.recall("Whose mail is ada@tea.example?", limit=5)
        await memory.update(kept.id, content="Ada's mail is lovelace@tea.example now.")

    server = {verb: verb_of(spans, verb, SpanKind.SERVER) for verb in ("store", "store_many", "get", "recall", "update")}
    assert told(server["store"]) == told(server["get"]) == [(kept.id, "Ada's mail is [e-mail].")]
    assert told(server["store_many"]) == [(one.id, "Ada sails."), (two.id, "Her card is [number].")]
    assert told(server["update"]) == [(kept.id, "Ada's mail is [e-mail] now.")]
    assert (server["recall"].attributes or {})[QUERY] == "Whose mail is [e-mail]?"
    assert (kept.id, "Ada's mail is [e-mail].") in told(server["recall"])
    assert all({QUERY, RECORDS}.isdisjoint(span.attributes or {}) for span in spans if span.kind is not SpanKind.SERVER)
    assert not [span.name for span in spans if "@tea" in span.to_json() or CARD in span.to_json()]

    keeping = KeptSpans("test")
    for span in spans:
        keeping.put(span)
    kept_texts = "".join(keeping.take(1000))
    assert kept.id in kept_texts
    assert "sails" not in kept_texts


async def test_without_the_switch_there_is_no_text(
    unsynced: World, spans: list[ReadableSpan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if there were none of this."""
    monkeypatch.delenv(SWITCH)
    await unsynced.stop("daemon")
    await unsynced.start("daemon")
    async with unsynced.connect() as memory:
        await memory.store("Ada sails.", type="fact")
        await memory.recall("Who sails?")
    assert len(spans) > 4
    assert all({QUERY, RECORDS}.isdisjoint(span.attributes or {}) for span in spans)


async def test_an_own_redactor_is_all_that_text_passes_and_may_fail_without_harm(
    unsynced: World, spans: list[ReadableSpan], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named by its path; where it raises, the operation is answered and its span has no text."""
    own = ModuleType("own_redactor")

    def shout(text: str) -> str:
        if "kumquat" in text:
            raise RuntimeError(text)
        return text.upper()

    own.shout = shout  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_redactor", own)
    await unsynced.stop("daemon")
    unsynced.settings = unsynced.settings.model_copy(update={"trace_redactor": "own_redactor:shout"})
    await unsynced.start("daemon")
    async with unsynced.connect() as memory:
        kept = await memory.store("Ada sails.", type="fact")
        assert told(verb_of(spans, "store", SpanKind.SERVER)) == [(kept.id, "ADA SAILS.")]
        spans.clear()
        fruit = await memory.store("A kumquat a day.", type="fact")
        assert (await memory.get(fruit.id)).content == "A kumquat a day."
    stored = verb_of(spans, "store", SpanKind.SERVER)
    assert stored.status.is_ok
    assert RECORDS not in (stored.attributes or {})
    assert not [span.name for span in spans if "kumquat" in span.to_json()]
    assert [one.levelname for one in caplog.records if one.name == memoryd_telemetry.text.__name__] == ["WARNING"]
    assert "kumquat" not in caplog.text
