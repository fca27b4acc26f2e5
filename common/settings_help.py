"""Settings as people read them: variable, default, rule, example and meaning, from the settings class itself."""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from enum import Enum, EnumMeta
from typing import Any, NamedTuple, get_type_hints

import msgspec

from common.settings import Secret, Settings, is_secret, kind_of, meta_of

_NUMBERS = {int: "whole number", float: "number", Decimal: "decimal number"}


class SettingHelp(NamedTuple):
    """One setting."""

    variable: str
    default: str
    rule: str
    example: str
    meaning: str


def settings_help(settings_type: type[Settings]) -> list[SettingHelp]:
    """Describe every setting of a service, in the order of its class."""
    hints = get_type_hints(settings_type, include_extras=True)
    return [_help(field, hints[field.name]) for field in msgspec.structs.fields(settings_type)]


def _help(field: msgspec.structs.FieldInfo, hint: Any) -> SettingHelp:
    meta = meta_of(hint) or msgspec.Meta()
    example = str(meta.examples[0]) if meta.examples else ""
    return SettingHelp(field.name.upper(), _shown(field), _rule(hint, meta), example, meta.description or "")


def _shown(field: msgspec.structs.FieldInfo) -> str:
    default = field.default if field.default is not msgspec.NODEFAULT else _made(field)
    if default is None or isinstance(default, Secret):
        return ""
    if isinstance(default, tuple | list):
        return ",".join(map(str, default))
    return str(default).lower() if isinstance(default, bool) else str(default)


def _made(field: msgspec.structs.FieldInfo) -> Any:
    return None if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _rule(hint: Any, meta: msgspec.Meta) -> str:
    kind = kind_of(hint)
    if is_secret(hint):
        return "secret; or a file named by the variable with _FILE"
    if isinstance(kind, EnumMeta):
        members: Iterable[Enum] = kind
        return "one of " + ", ".join(str(member.value) for member in members)
    if kind is bool:
        return "true or false"
    if kind in _NUMBERS:
        return " ".join(filter(None, (_NUMBERS[kind], _bounds(meta))))
    return _shape(kind, meta)


def _bounds(meta: msgspec.Meta) -> str:
    signs = (("> ", meta.gt), (">= ", meta.ge), ("< ", meta.lt), ("<= ", meta.le))
    return " and ".join(f"{sign}{bound}" for sign, bound in signs if bound is not None)


def _shape(kind: Any, meta: msgspec.Meta) -> str:
    is_list = kind == tuple[str, ...]
    parts = ["comma separated list" if is_list else "text"]
    if meta.min_length is not None and (is_list or meta.min_length > 1):
        parts.append(f"of at least {meta.min_length}")
    elif meta.min_length:
        parts.append("that is not empty")
    if meta.pattern:
        parts.append(f"matching {meta.pattern}")
    return " ".join(parts)


def settings_text(settings_type: type[Settings], defaults: Mapping[str, str]) -> str:
    """Lay the settings out for a terminal; `defaults` replaces defaults that depend on the service."""
    lines: list[str] = []
    for row in settings_help(settings_type):
        default = defaults.get(row.variable, row.default)
        lines += [f"  {row.variable}", f"      {row.meaning}", f"      {row.rule}; default: {default or 'none'}"]
        if row.example and row.example != default:
            lines.append(f"      example: {row.variable}={row.example}")
    return "\n".join(lines)
