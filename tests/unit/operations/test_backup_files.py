"""What a backup copies: databases while they are written, Prometheus' files while it compacts, settings without secrets."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from common.errors import InvalidRecord
from scripts.operations.backup_files import grafana_files, online_copy, tsdb_snapshot, without_secrets


def database(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE numbers (value INTEGER)")
    connection.execute("INSERT INTO numbers VALUES (1)")
    return connection


def values(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [value for (value,) in connection.execute("SELECT value FROM numbers ORDER BY value")]


def test_a_database_is_copied_while_it_is_written(tmp_path: Path) -> None:
    """What is committed, also in the write-ahead log alone, is in the copy; what is under way is not, and the writer is not disturbed."""
    path = tmp_path / "trading.db"
    with closing(database(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO numbers VALUES (2)")
        with online_copy(path) as copy:
            assert values(copy) == [1]
        writer.execute("COMMIT")
        with online_copy(path) as copy:
            assert values(copy) == [1, 2]
        assert sorted(each.name for each in tmp_path.iterdir()) == ["trading.db", "trading.db-shm", "trading.db-wal"]


def test_a_closed_database_is_left_as_it_is(tmp_path: Path) -> None:
    """Copying leaves no file beside it; what a killed backup left is removed."""
    path = tmp_path / "trading.db"
    database(path).close()
    (tmp_path / ".backup-trading.db").write_bytes(b"half")
    with online_copy(path) as copy:
        assert values(copy) == [1]
    assert [each.name for each in tmp_path.iterdir()] == ["trading.db"]


def test_a_damaged_database_is_no_backup(tmp_path: Path) -> None:
    """Damage is told when it is backed up, not when it is restored."""
    path = tmp_path / "trading.db"
    with closing(database(path)) as writer:
        writer.execute("CREATE INDEX by_value ON numbers (value)")
        writer.executemany("INSERT INTO numbers VALUES (?)", [(number,) for number in range(5000)])
    content = bytearray(path.read_bytes())
    content[8192:20000] = bytes(11808)
    path.write_bytes(content)
    with pytest.raises(InvalidRecord, match=r"trading\.db"), online_copy(path):
        pass
    assert [each.name for each in tmp_path.iterdir()] == ["trading.db"]


def test_grafana_keeps_its_database_and_plugins(tmp_path: Path) -> None:
    """What it draws for a moment, what lies beside an open database, and what an earlier restore replaced are left out."""
    for name in ("grafana.db", "grafana.db-wal", "plugins/one/plugin.json", "png/picture.png", "replaced-20260101T000000Z/grafana.db"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    assert [str(path.relative_to(tmp_path)) for path in grafana_files(tmp_path)] == ["grafana.db", "plugins/one/plugin.json"]


# --- Prometheus -------------------------------------------------------------------------------------------------------

FILES = ("01BLOCK/meta.json", "01BLOCK/chunks/000001", "01BLOCK/index", "chunks_head/000001", "wal/00000003", "wal/checkpoint.00000002/00000000")


@pytest.fixture
def tsdb(tmp_path: Path) -> Path:
    """A folder as Prometheus keeps it."""
    for name in (*FILES, "lock", "queries.active"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path


def snapshot(folder: Path) -> dict[str, str]:
    with tsdb_snapshot(folder) as made:
        return {str(path.relative_to(made)): path.read_text(encoding="utf-8") for path in sorted(made.rglob("*")) if path.is_file()}


def test_a_snapshot_has_blocks_and_log(tsdb: Path) -> None:
    """All samples, in blocks and in the log, and nothing of the process; afterwards the folder is as before."""
    before = sorted(tsdb.rglob("*"))
    assert snapshot(tsdb) == {name: name for name in sorted(FILES)}
    assert sorted(tsdb.rglob("*")) == before


def test_a_compaction_in_between_begins_it_anew(tsdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that comes while the log is linked, and takes the log's beginning with it, or one that goes, is noticed."""
    compacted: list[Path] = []

    def link(source: Path, target: Path) -> None:
        real_link(source, target)
        if not compacted:
            compacted.append(source)
            (tsdb / "02BLOCK").mkdir()
            (tsdb / "02BLOCK" / "meta.json").write_text("02", encoding="utf-8")
            shutil.rmtree(tsdb / "01BLOCK")
            (tsdb / "wal" / "00000003").rename(tsdb / "wal" / "00000004")

    real_link = os.link
    monkeypatch.setattr(os, "link", link)
    assert list(snapshot(tsdb)) == ["02BLOCK/meta.json", "chunks_head/000001", "wal/00000004", "wal/checkpoint.00000002/00000000"]


def test_the_log_comes_after_what_was_written_of_it(tsdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So no sample can be missing from both."""
    linked: list[str] = []

    def link(source: Path, target: Path) -> None:
        linked.append(str(source.relative_to(tsdb).parts[0]))
        real_link(source, target)

    real_link = os.link
    monkeypatch.setattr(os, "link", link)
    snapshot(tsdb)
    assert list(dict.fromkeys(linked)) == ["01BLOCK", "chunks_head", "wal"]


def test_a_folder_that_never_stands_still_is_told(tsdb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After some attempts it gives up, and leaves nothing behind."""
    real_link = os.link
    count = iter(range(10**6))

    def link(source: Path, target: Path) -> None:
        real_link(source, target)
        path = tsdb / f"{next(count):06}BLOCK" / "meta.json"
        path.parent.mkdir()
        path.write_text("x", encoding="utf-8")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(InvalidRecord, match="compacts without end"):
        snapshot(tsdb)
    assert not (tsdb / "snapshots").exists()


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_are_kept_without_secrets() -> None:
    """Secrets of the settings classes and whatever is called like one go; names of files, comments and the rest stay."""
    text = (
        "SYMBOLS=BTCUSDT,ETHUSDT\nBINANCE_API_SECRET=planted\nexport REDIS_PASSWORD='planted'\n#CONTROL_TOKEN=planted\n"
        "SLACK_TOKEN=planted\nREDIS_URL=redis://user:planted@redis:6379/0\nREDIS_PASSWORD_FILE=/run/secrets/redis_password\n# a comment\nEMPTY_PASSWORD=\n"
    )
    kept = without_secrets(text)
    assert "planted" not in kept
    assert kept.splitlines()[0] == "SYMBOLS=BTCUSDT,ETHUSDT"
    for line in (
        "# BINANCE_API_SECRET= (a secret, which no backup holds)",
        "REDIS_PASSWORD_FILE=/run/secrets/redis_password",
        "# a comment",
        "EMPTY_PASSWORD=",
    ):
        assert line in kept.splitlines()
