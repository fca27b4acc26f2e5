"""What travels with a record besides its message: who asked first, and when each service had it in hand.

Wall times belong here and not into messages, so that the body of a message is the same in every run of a recording.
"""

import struct
from typing import Self

_BYTES = 8
#: A record passes five services at most; a longer header is none of ours.
MOST_TIMES = 32
_TIME, _HOP = struct.Struct(">q"), struct.Struct(">2q")


class Trace(bytes):
    """Wall times in ns, eight bytes each, big-endian; empty when nothing is known.

    They come in pairs, one a service: when it had the record in hand and when it sent what came of it. The first is the
    socket read of the oldest frame behind the record, and names the trace.
    """

    __slots__ = ()

    @classmethod
    def begin(cls, read_at_ns: int) -> Self:
        """Begin a trace with a socket read; none without its time."""
        return cls(_TIME.pack(read_at_ns)) if read_at_ns else cls()

    @classmethod
    def of(cls, header: bytes) -> Self:
        """Take a header for a trace; what cannot be one counts as none."""
        return cls(header) if len(header) % _BYTES == 0 and len(header) <= MOST_TIMES * _BYTES else cls()

    @property
    def id(self) -> str:
        """The trace's name, 16 hexadecimal digits; empty when there is none."""
        return self[:_BYTES].hex()

    @property
    def read_at_ns(self) -> int:
        """When the oldest frame behind the record was read from the socket, ns; 0 when unknown."""
        return int.from_bytes(self[:_BYTES], signed=True)

    @property
    def times_ns(self) -> tuple[int, ...]:
        """All times, ns."""
        return struct.unpack(f">{len(self) // _BYTES}q", self)

    def with_time(self, at_ns: int) -> "Trace":
        """Add the next time, ns; to no trace nothing is added."""
        return Trace(self + _TIME.pack(at_ns)) if self else self

    def with_hop(self, polled_ns: int, sent_ns: int) -> "Trace":
        """Add a service: when it had the record in hand and when it sent what came of it, ns."""
        return Trace(self + _HOP.pack(polled_ns, sent_ns)) if self else self


NO_TRACE = Trace()
