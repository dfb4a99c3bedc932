"""Chats: lists of messages as one text, and as JSON of `cuvee.schemas.document.MESSAGES`.

A message is {role, content} or {from, value}; its content is a string, or parts of which those of text count. In the
text a turn is `User: …`, `Assistant: …`, `System: …`, another role as it is named, its first letter large; a blank line
joins turns. Messages without text stay among the messages, and are no turns.
"""

import json

from cuvee.tasks.readers._batch import InvalidRowError

# The common roles in small letters, two of them as ShareGPT calls them.
_ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}
_NAMES = (("role", "content"), ("from", "value"))
_MOST_BYTES = 4 << 20


def chat(value: object, name: str) -> tuple[str, str]:
    """Return the text of a chat, and its messages as JSON.

    value: the list, or JSON of it, as tables of text hold it; name: the field, for messages. Raises InvalidRowError
    for what is no chat.
    """
    if isinstance(value, str):
        value = _parsed(value, name)
    if not isinstance(value, list) or not value:
        found = "an empty list" if isinstance(value, list) else f"{type(value).__name__}, not a list of messages"
        raise InvalidRowError(f'field "{name}" is {found}')
    turns = [_turn(message, f'field "{name}", message {place}') for place, message in enumerate(value)]
    text = "\n\n".join(f"{role[:1].upper()}{role[1:]}: {content}" for role, content in turns if content.strip())
    messages = [{"role": role, "content": content} for role, content in turns]
    return text, json.dumps(messages, ensure_ascii=False)


def _turn(message: object, where: str) -> tuple[str, str]:
    if not isinstance(message, dict):
        raise InvalidRowError(f"{where} (counted from 0) is no object with role and content")
    for role_key, content_key in _NAMES:
        role = message.get(role_key)
        if isinstance(role, str) and content_key in message:
            role = role.strip()
            return _ROLES.get(role.lower(), role), _content(message[content_key], where)
    raise InvalidRowError(f"{where} (counted from 0) has neither role and content nor from and value")


def _content(value: object, where: str) -> str:
    if value is None:  # of messages that call a tool
        return ""
    if isinstance(value, str):
        return value
    parts = value if isinstance(value, list) else [value]
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str):
            texts.append(text)
        elif not isinstance(part, dict):
            raise InvalidRowError(f"{where} (counted from 0) has a content that is neither text nor parts")
    return "\n".join(texts)


def _parsed(text: str, name: str) -> object:
    if len(text) > _MOST_BYTES and sum(map(text.count, ",[{")) > _MOST_BYTES // 2:
        raise InvalidRowError(f'field "{name}" is JSON of too many values')
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRowError(f'field "{name}" is no list of messages, and no JSON of one') from error
