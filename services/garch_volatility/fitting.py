"""The port through which the model has its fits made."""

from typing import Protocol

import msgspec

from services.garch_volatility.volatility import Fit


class FitRequest(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A fit asked for at a bar, with data up to that bar."""

    pair: str
    session: int
    bar: int
    minimum_bars: int
    innovations: tuple[float, ...]

    @property
    def key(self) -> tuple[str, int, int]:
        """What a fit is known by; equal keys have equal data."""
        return self.pair, self.session, self.bar


class Fits(Protocol):
    """Makes fits besides the model. The result depends on the request alone, never on when it is asked for."""

    def start(self, request: FitRequest) -> None:
        """Begin a fit and return at once; one that has begun already is left alone."""
        ...

    def result(self, request: FitRequest) -> Fit:
        """Wait for a fit; one that is not known, as after a restart, is begun."""
        ...
