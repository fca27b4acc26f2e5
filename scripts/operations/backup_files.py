"""What is copied, and how: databases online, Prometheus' blocks as they stand, settings without secrets."""

import os
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from common.errors import InvalidRecord
from common.io.logs import redact_text
from common.settings import Secret, Settings
from scripts.service_list import packages, settings_type_of

_SQLITE_HEADER = b"SQLite format 3\0"
#: Beside a database while it is open; an online copy holds what is in them.
_SQLITE_SIDE_FILES = ("-wal", "-shm", "-journal")
#: Grafana makes these anew.
_GRAFANA_PASSING = frozenset({"png", "csv", "pdf"})
#: A file beside a volume's own that a backup makes; what a killed one left is removed by the next.
_OURS = ".backup-"
_SNAPSHOTS = "snapshots"
_ATTEMPTS = 10


# --- databases --------------------------------------------------------------------------------------------------------


@contextmanager
def online_copy(database: Path) -> Iterator[Path]:
    """A copy of a database at one moment, while others write it; beside it, since it may be large, and gone afterwards.

    Raises InvalidRecord when the copy is damaged.
    """
    for left in database.parent.glob(f"{_OURS}*"):
        left.unlink()
    copy = database.with_name(f"{_OURS}{database.name}")
    try:
        with closing(_open(database)) as source, closing(sqlite3.connect(copy)) as target:
            # In one step: in several, a writer would make it begin anew each time.
            source.backup(target)
            target.execute("PRAGMA journal_mode=DELETE")
            damage = "; ".join(str(line) for (line,) in target.execute("PRAGMA integrity_check(5)"))
        if damage != "ok":
            raise InvalidRecord(f"{database}: is damaged ({damage}); keep it and restore an earlier backup")
        yield copy
    except sqlite3.Error as error:
        raise InvalidRecord(f"{database}: cannot be copied ({error})") from error
    finally:
        copy.unlink(missing_ok=True)


def _open(database: Path) -> sqlite3.Connection:
    """Read only. One that is open anywhere has its write-ahead log beside it; without one nothing changes, and even a reader would make one."""
    mode = "mode=ro" if database.with_name(f"{database.name}-wal").exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"file:{database}?{mode}", uri=True, timeout=30, isolation_level=None)


def is_database(path: Path) -> bool:
    """Whether it is SQLite's."""
    with path.open("rb") as file:
        return file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER


# --- Grafana ----------------------------------------------------------------------------------------------------------


def grafana_files(folder: Path) -> list[Path]:
    """What Grafana keeps: its database, plugins; not what it draws for a moment."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.is_symlink())
    kept = [path for path in found if path.relative_to(folder).parts[0] not in _GRAFANA_PASSING and not path.name.startswith(_OURS)]
    return [path for path in kept if not path.name.endswith(_SQLITE_SIDE_FILES) and not path.relative_to(folder).parts[0].startswith("replaced-")]


# --- Prometheus -------------------------------------------------------------------------------------------------------


@contextmanager
def tsdb_snapshot(folder: Path) -> Iterator[Path]:
    """Links to all files of Prometheus' database as they stand at one moment; gone afterwards.

    Blocks never change once they are there, and of the write-ahead log only the end grows: what is cut off there is what a crash
    would cut off, which Prometheus mends when it starts. Should it compact meanwhile, so that blocks come, go or leave the log, it
    is begun anew. Its own snapshots would need its admin API, by which anybody in the network could delete series.

    Raises InvalidRecord when it never stands still.
    """
    target = folder / _SNAPSHOTS / "backup"
    try:
        for _ in range(_ATTEMPTS):
            shutil.rmtree(target, ignore_errors=True)
            before = _layout(folder)
            try:
                for path in _tsdb_files(folder):
                    made = target / path.relative_to(folder)
                    made.parent.mkdir(parents=True, exist_ok=True)
                    os.link(path, made)
            except FileNotFoundError:
                continue
            if _layout(folder) == before:
                yield target
                return
        raise InvalidRecord(f"{folder}: Prometheus compacts without end; look at its log")
    finally:
        shutil.rmtree(folder / _SNAPSHOTS, ignore_errors=True)


def _tsdb_files(folder: Path) -> list[Path]:
    """The order matters: samples that leave memory are in the log before, so the log comes after what was written of them."""
    names = [path.name for path in sorted(folder.iterdir()) if (path / "meta.json").exists()]
    return [path for name in (*names, "chunks_head", "wal") for path in sorted((folder / name).rglob("*")) if path.is_file()]


def _layout(folder: Path) -> tuple[frozenset[str], str]:
    """What changes when Prometheus compacts: its blocks and checkpoints, and the first segment of its log."""
    blocks = {path.parent.name for path in folder.glob("*/meta.json")} | {path.name for path in folder.glob("wal/checkpoint.*")}
    segments = sorted(path.name for path in folder.glob("wal/0*"))
    return frozenset(blocks), segments[0] if segments else ""


# --- settings ---------------------------------------------------------------------------------------------------------

_SOUNDS_SECRET = re.compile(r"(PASSWORD|PASSPHRASE|SECRET|TOKEN|API_KEY|CREDENTIALS)$")


def without_secrets(text: str) -> str:
    """An env file whose secrets are left out; the names stay, so that it shows what has to be given again."""
    secret = _secret_variables()
    return "".join(f"{_without_secret(line, secret)}\n" for line in text.splitlines())


def _without_secret(line: str, secret: frozenset[str]) -> str:
    match = re.match(r"^\s*#?\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*)$", line)
    if match and match[2] and (match[1].upper() in secret or _SOUNDS_SECRET.search(match[1].upper())):
        return f"# {match[1]}= (a secret, which no backup holds)"
    return redact_text(line)


def _secret_variables() -> frozenset[str]:
    kinds: list[type[Settings]] = [Settings, *(kind for package in packages() if (kind := settings_type_of(package)))]
    fields = [field for kind in kinds for field in msgspec.structs.fields(kind)]
    return frozenset(field.name.upper() for field in fields if isinstance(field.default, Secret))
