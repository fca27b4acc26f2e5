"""What is restored stands in the place of what was there, and a restored ledger goes on with its broker or a new one."""

import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.codec import encode
from common.errors import InvalidRecord
from common.io.memory import MemoryTransport
from common.io.memory_broker import MemoryBroker
from common.market import Pair
from common.messages import BarClose, BarStatus, Feed, HedgeRatioClose, ModelStatus
from common.topics import HEDGE_RATIOS, TICKS
from scripts.operations import backup
from scripts.operations.backup_restore import fit_ledger, put_in_place
from services.ingestion.recovery import take_over

PAIR, OTHER = "ETHUSDT-BTCUSDT", "SOLUSDT-BTCUSDT"
MINUTE_NS = 60_000_000_000

# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", [True, False])
def test_what_was_there_is_kept_or_deleted(tmp_path: Path, keep: bool) -> None:
    """The staged files take their place; what an earlier restore replaced stays in any case."""
    for name in ("trading.db", "trading.db-wal", "wal/0", ".restore/trading.db", "replaced-1/old"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    assert put_in_place(tmp_path / ".restore", tmp_path, "replaced-2", keep=keep) == ["trading.db", "trading.db-wal", "wal"]
    assert (tmp_path / "trading.db").read_text(encoding="utf-8") == ".restore/trading.db"
    kept = {"replaced-2", "replaced-2/trading.db", "replaced-2/trading.db-wal", "replaced-2/wal", "replaced-2/wal/0"} if keep else set()
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {"trading.db", "replaced-1", "replaced-1/old"} | kept


def run(volumes: Path, *arguments: str, stdin: bytes = b"") -> tuple[int, bytes]:
    stdout = io.BytesIO()
    status = backup.main([*arguments, "--volumes", str(volumes)], {}, io.BytesIO(stdin), stdout)
    return status, stdout.getvalue()


@pytest.fixture
def volumes(tmp_path: Path) -> Path:
    """Volumes with a ledger in use."""
    for part in ("execution", "risk-manager", "grafana", "prometheus"):
        (tmp_path / part).mkdir()
    ledger(tmp_path / "execution" / "trading.db")
    return tmp_path


def ledger(path: Path, *, session: int = 7, offset: int = 1) -> Path:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(
            "CREATE TABLE stamps (name TEXT, value TEXT);"
            "CREATE TABLE pairs (pair TEXT PRIMARY KEY, session INTEGER, bar INTEGER, last_seq INTEGER);"
            'CREATE TABLE positions (topic TEXT, "partition" INTEGER, next_offset INTEGER);'
        )
        connection.execute("INSERT INTO stamps VALUES ('environment', 'paper')")
        connection.executemany("INSERT INTO pairs VALUES (?, ?, 100, ?)", [(PAIR, session, 500), (OTHER, session - 1, 40)])
        connection.execute("INSERT INTO positions VALUES ('hedge-ratios', ?, ?)", (place(PAIR), offset))
    return path


def dumped(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_part_is_saved_verified_and_loaded(volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The ledger comes back whole into an empty volume; what was there in the meantime is kept beside it."""
    status, archive = run(volumes, "save", "execution")
    assert (status, run(volumes, "verify", stdin=archive)[0], run(volumes, "there")[1]) == (0, 0, b"execution/trading.db\n")
    path = volumes / "execution" / "trading.db"
    before = dumped(path)
    path.write_bytes(b"another")
    assert run(volumes, "load", "execution", stdin=archive)[0] == 0
    assert dumped(path) == before
    (replaced,) = (volumes / "execution").glob("replaced-*")
    assert (replaced / "trading.db").read_bytes() == b"another"
    assert "integrity ok" in capsys.readouterr().err


def test_a_bad_archive_changes_nothing(volumes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One that is damaged, or of the other environment, is refused before anything is touched."""
    archive = run(volumes, "save", "execution", "--environment", "production")[1]
    path = volumes / "execution" / "trading.db"
    before = path.read_bytes()
    for content in (archive, archive.replace(b"SQLite format 3", b"SQLite format 4")):
        assert run(volumes, "load", "execution", stdin=content)[0] == 1
        assert path.read_bytes() == before
        assert sorted(each.name for each in (volumes / "execution").iterdir()) == ["trading.db"]
    said = capsys.readouterr().err
    assert "backup of production, not of development" in said
    assert "is not what was backed up" in said


def test_a_part_that_is_not_in_the_archive_is_left(volumes: Path) -> None:
    """A backup without metrics leaves Prometheus alone."""
    archive = run(volumes, "save", "execution")[1]
    (volumes / "prometheus" / "wal").mkdir()
    assert run(volumes, "load", "prometheus", stdin=archive)[0] == 0
    assert [path.name for path in (volumes / "prometheus").iterdir()] == ["wal"]


def test_a_service_that_never_started_has_nothing_to_save(volumes: Path) -> None:
    """The part says so, and the backup is whole."""
    status, archive = run(volumes, "save", "risk-manager")
    assert (status, run(volumes, "verify", stdin=archive)[0]) == (0, 0)


# --- the broker -------------------------------------------------------------------------------------------------------


def broker() -> MemoryTransport:
    return MemoryTransport(MemoryBroker())


def place(pair: str) -> int:
    return broker().partition_of(HEDGE_RATIOS, pair)


def answered(transport: MemoryTransport, *, session: int = 7, bar: int = 100, seq: int = 500) -> None:
    """What a pipeline has left on a broker."""
    close = BarClose(pair=PAIR, seq=seq, epoch=1, session=session, bar=bar, end_time_ns=bar * MINUTE_NS, status=BarStatus.FRESH, feed=Feed.RECORDING)
    producer = transport.producer()
    producer.send(TICKS, PAIR, encode(close))
    producer.send(HEDGE_RATIOS, PAIR, encode(HedgeRatioClose(close=close, status=ModelStatus.WARMING)))
    producer.flush()


def positions(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        ((count,),) = connection.execute("SELECT count(*) FROM positions")
    return int(count)


def test_with_its_own_broker_nothing_is_changed(tmp_path: Path) -> None:
    """A broker that holds what the ledger read last is its own."""
    path, transport = ledger(tmp_path / "trading.db"), broker()
    answered(transport)
    assert "goes on where it stood" in fit_ledger(path, tmp_path / "risk.db", transport)
    assert positions(path) == 1
    assert sum(transport.end_offsets(TICKS).values()) == 1


def test_on_a_new_broker_ingestion_goes_on_above_the_ledger(tmp_path: Path) -> None:
    """It opens a new session above the ledger's, with a seq above its last one for each pair; the ledger reads from the beginning."""
    path, transport = ledger(tmp_path / "trading.db"), broker()
    assert "new market session" in fit_ledger(path, tmp_path / "risk.db", transport)
    assert positions(path) == 0
    log = take_over(transport, transport.producer(), [Pair.parse(PAIR), Pair.parse(OTHER)], MINUTE_NS)
    assert (log.session, log.open_bar, {pair: history.next_seq for pair, history in log.pairs.items()}) == (7, None, {PAIR: 501, OTHER: 41})


def test_risk_manager_may_have_gone_on(tmp_path: Path) -> None:
    """Its database is copied after the ledger, so the newer session counts."""
    path, risk, transport = ledger(tmp_path / "trading.db"), tmp_path / "risk.db", broker()
    with closing(sqlite3.connect(risk, isolation_level=None)) as connection:
        connection.execute("CREATE TABLE state (name TEXT, value BLOB)")
        connection.execute("INSERT INTO state VALUES ('portfolio', ?)", (b'{"closed":[8,3]}',))
    fit_ledger(path, risk, transport)
    assert take_over(transport, transport.producer(), [Pair.parse(PAIR)], MINUTE_NS).session == 8


@pytest.mark.parametrize("foreign", [{"session": 1}, {"bar": 900}, {"seq": 501}])
def test_another_history_is_refused(tmp_path: Path, foreign: dict[str, int]) -> None:
    """A broker with records that this ledger cannot have read last belongs to another one."""
    path, transport = ledger(tmp_path / "trading.db"), broker()
    answered(transport, **foreign)
    with pytest.raises(InvalidRecord, match="another history"):
        fit_ledger(path, tmp_path / "risk.db", transport)
    assert positions(path) == 1


def test_a_broker_that_ends_too_early_is_refused(tmp_path: Path) -> None:
    """It is neither new nor does it hold what the ledger has read."""
    path, transport = ledger(tmp_path / "trading.db", offset=2), broker()
    answered(transport)
    with pytest.raises(InvalidRecord, match="another history"):
        fit_ledger(path, tmp_path / "risk.db", transport)


def test_without_a_ledger_any_broker_will_do(tmp_path: Path) -> None:
    """Nothing is made."""
    assert "no ledger" in fit_ledger(tmp_path / "trading.db", tmp_path / "risk.db", broker())
    assert list(tmp_path.iterdir()) == []
