"""Messages with values that are of the right type and make no sense."""

import json
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from hypothesis import strategies as st

_DECIMALS = ["NaN", "sNaN", "Infinity", "-Infinity", "1E+999999", "1E-999999", "-1", "0", "1e30", "1E+400", "1E-400", "99999999999999", "1e-15", "1e-30"]
_WHOLE = [-1, 0, 1, 2**31, 10**10, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63)]
_NUMBERS = [1e308, -1e308, 1e-308, 5e-324, 0.0, -0.0, -1.0, 1e200, 1e-200, 1e155, -1e155, 1e100, 1e8, 1e-8]
_OTHER: list[Any] = ["", "NaN", "x" * 1000, "XXX-YYY", "\u0000", None, [], {}, True, -1, 10**30, 1e308]

Path = tuple[str | int, ...]


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Every value within that is made of no others, and where it stands."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        yield path, value
    else:
        for name, part in inside:
            yield from leaves(part, (*path, name))


def _is_decimal(text: str) -> bool:
    try:
        return Decimal(text).is_finite()
    except InvalidOperation:
        return False


def _alike(value: Any) -> st.SearchStrategy[Any]:
    """Values of the same type as this one."""
    if isinstance(value, bool):
        return st.just(not value)
    if isinstance(value, float):
        return st.sampled_from(_NUMBERS) | st.floats(allow_nan=False, allow_infinity=False)
    if isinstance(value, int):
        return st.sampled_from(_WHOLE)
    if isinstance(value, str) and _is_decimal(value):
        return st.sampled_from(_DECIMALS)
    return st.sampled_from(_OTHER)


@st.composite
def absurd(draw: st.DrawFn, value: bytes) -> bytes:
    """The message with one to three of its values replaced, mostly by ones of the same type."""
    message = json.loads(value)
    for _ in range(draw(st.integers(1, 3))):
        path, old = draw(st.sampled_from(list(leaves(message))))
        new = draw(_alike(old) if draw(st.integers(0, 4)) else st.sampled_from(_OTHER))
        holder = message
        for name in path[:-1]:
            holder = holder[name]
        if path:
            holder[path[-1]] = new
    return json.dumps(message).encode()


#: Bytes and JSON that are no message of ours.
NONSENSE = st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["type", "pair", "bar", "seq", "close", "tick", "x"]), inner, max_size=4),
    max_leaves=8,
).map(lambda value: json.dumps(value).encode())
