"""Round trips as execution tells of them: which ones are wanted, and as a file."""

import csv
import io
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, NamedTuple

ALL = "all"
RESULTS = (ALL, "gains", "losses")
#: Exact amounts, as the ledger has them.
_CSV = (
    *("id", "pair", "direction", "action", "opened_seq", "seq", "opened_bar", "bar", "event_time_ns"),
    *("gross_usd", "fees_usd", "funding_usd", "net_usd", "slippage_usd", "unhedged_usd_seconds"),
)

Trip = dict[str, Any]


class Choice(NamedTuple):
    """Which round trips are wanted."""

    pair: str
    direction: str
    closed: str
    result: str

    @property
    def asked(self) -> str:
        """The pair as execution is asked for it, which chooses by pair alone."""
        return "" if self.pair == ALL else self.pair

    def takes(self, trip: Trip) -> bool:
        """Whether a round trip is wanted."""
        net = Decimal(trip["net_usd"])
        return (
            self.pair in {ALL, trip["pair"]}
            and self.direction in {ALL, trip["direction"]}
            and self.closed in {ALL, trip["action"]}
            and (self.result == ALL or (net > 0) is (self.result == "gains"))
        )


def csv_of(trips: Iterable[Trip]) -> str:
    """A row a round trip, with exact amounts."""
    text = io.StringIO()
    writer = csv.DictWriter(text, _CSV, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(trips)
    return text.getvalue()
