"""Messages as people read them: every field with its type, meaning and default, from the classes themselves."""

from collections.abc import Iterable
from enum import Enum
from types import NoneType, UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

import msgspec

from common.codec import MESSAGES_OF_TOPIC
from common.messages import Message
from common.topics import Topic


class FieldHelp(NamedTuple):
    """One field; `default` is empty when the field must be given."""

    name: str
    kind: str
    meaning: str
    default: str


def messages_of(topic: Topic) -> tuple[type[Message], ...]:
    """List the messages that a topic may carry."""
    return get_args(MESSAGES_OF_TOPIC[topic]) or (MESSAGES_OF_TOPIC[topic],)


def tag_of(message: type[Message]) -> str:
    """Find what `type` says on the wire."""
    return str(message.__struct_config__.tag)


def fields_of(struct: type[msgspec.Struct]) -> list[FieldHelp]:
    """Describe every field, in the order of the class; a field without words of its own is described by its type."""
    hints = get_type_hints(struct, include_extras=True)
    return [FieldHelp(field.name, _kind(hints[field.name]), _meaning(hints[field.name]), _default(field)) for field in msgspec.structs.fields(struct)]


def parts_of(structs: Iterable[type[msgspec.Struct]]) -> tuple[list[type[msgspec.Struct]], list[type[Enum]]]:
    """Find the structs and enums that occur in fields, however deep, sorted by name."""
    parts: set[type[msgspec.Struct]] = set()
    enums: set[type[Enum]] = set()
    waiting = list(structs)
    while waiting:
        leaves = [leaf for hint in get_type_hints(waiting.pop()).values() for leaf in _leaves(hint)]
        enums |= {leaf for leaf in leaves if issubclass(leaf, Enum)}
        new = {leaf for leaf in leaves if issubclass(leaf, msgspec.Struct)} - parts
        parts |= new
        waiting += new
    return sorted(parts, key=lambda part: part.__name__), sorted(enums, key=lambda enum: enum.__name__)


def summary_of(kind: type) -> str:
    """Give the first line of a class's own words."""
    return (kind.__doc__ or "").strip().split("\n")[0]


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if hasattr(hint, "__metadata__") else hint


def _leaves(hint: Any) -> list[type]:
    inner = [argument for argument in get_args(hint) if argument is not ...]
    if inner:
        return [leaf for argument in inner for leaf in _leaves(argument)]
    return [hint] if isinstance(hint, type) else []


def _kind(hint: Any) -> str:
    hint = _bare(hint)
    if isinstance(hint, UnionType):
        return " or ".join(_kind(part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return f"list of {_kind(get_args(hint)[0])}"
    if get_origin(hint) is dict:
        return "map of {} to {}".format(*map(_kind, get_args(hint)))
    return {NoneType: "null", str: "text"}.get(hint) or str(hint.__name__)


def _meaning(hint: Any) -> str:
    words = [part.description for part in getattr(hint, "__metadata__", ()) if isinstance(part, msgspec.Meta) and part.description]
    own = next(iter(words), "")
    return own or next((summary_of(leaf) for leaf in _leaves(_bare(hint)) if issubclass(leaf, Enum | msgspec.Struct)), "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.default is not msgspec.NODEFAULT:
        return msgspec.json.encode(field.default).decode()
    return "" if field.default_factory is msgspec.NODEFAULT else msgspec.json.encode(field.default_factory()).decode()
