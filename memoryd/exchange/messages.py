"""An OpenAI-style message list: each message becomes an episodic memory of one session, its role in the metadata.

The text is the message's `content`, a string or a list of parts; a part without text stands as its kind, `[image_url]`.
A call of a tool reads as `calls name(arguments)`; a tool's answer has the tool's name as `source_tool`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from memoryd.errors import BadRequest
from memoryd.exchange.items import BadItem, Item, checked
from memoryd.model.scope import check_name


def fits(value: Any) -> bool:
    """Whether `value` looks like a message list."""
    found = value.get("messages") if isinstance(value, dict) else value
    return isinstance(found, list) and any(isinstance(message, dict) and "role" in message for message in found)


def read(value: Any, session: str) -> Iterator[Item | BadItem]:
    """The messages of `value` as memories of `session`. Raises BadRequest when it is no message list."""
    found = value.get("messages") if isinstance(value, dict) else value
    if not isinstance(found, list):
        raise BadRequest('messages: expected a JSON list of messages, or {"messages": [...]}')
    check_name("session", session)
    return _items(found, session)


def _items(found: list[Any], session: str) -> Iterator[Item | BadItem]:
    tools: dict[str, str] = {}  # call id → tool, so that an answer can say whose it is
    for number, message in enumerate(found, start=1):
        where = f"message {number}"
        try:
            yield checked(_item(message, number, session, tools), where)
        except BadRequest as error:
            yield BadItem(where, error.message)


def _item(message: Any, number: int, session: str, tools: dict[str, str]) -> Item:
    if not isinstance(message, dict) or not isinstance(message.get("role"), str):
        raise BadRequest("expected a JSON object with `role` and `content`")
    calls = _calls(message)
    tools.update({call_id: name for call_id, name, _ in calls if call_id})
    texts = [_text(message.get("content")), _text(message.get("refusal"))]
    texts += [f"calls {name}({arguments})" for _, name, arguments in calls]
    content = "\n".join(text for text in texts if text.strip())
    if not content:
        raise BadRequest("has neither text nor tool calls")
    item: Item = {
        "content": content,
        "type": "episodic",
        "session": session,
        "metadata": {"role": message["role"], "index": number, **_strings(message, "name", "tool_call_id")},
    }
    if tool := tools.get(str(message.get("tool_call_id"))):
        item["source_tool"] = tool
    return item


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(_part(part) for part in content)
    raise BadRequest("content: expected a string or a list of parts")


def _part(part: Any) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        raise BadRequest("content: expected parts that are objects with `type`")
    text = part.get("text", part.get("refusal"))
    return text if isinstance(text, str) else f"[{part['type']}]"


def _calls(message: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The id, name and arguments of each call in `message`, in today's form or in the older `function_call`."""
    calls = message.get("tool_calls") or []
    if older := message.get("function_call"):
        calls = [{"function": older}]
    if not isinstance(calls, list):
        raise BadRequest("tool_calls: expected a list")
    return [_call(call) for call in calls]


def _call(call: Any) -> tuple[str, str, str]:
    function = call.get("function", call.get("custom")) if isinstance(call, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise BadRequest("tool_calls: expected objects with `function`, which has `name` and `arguments`")
    arguments = function.get("arguments", function.get("input", ""))
    if not isinstance(arguments, str):
        raise BadRequest("tool_calls: expected `arguments` as a string of JSON")
    return str(call.get("id") or ""), function["name"], arguments


def _strings(message: dict[str, Any], *names: str) -> dict[str, str]:
    return {name: message[name] for name in names if isinstance(message.get(name), str)}
