"""Takes, checks and restores a part of a backup; scripts/backup.sh runs it in a container, as the owner of each volume.

`save PART` writes a tar to standard output, `verify` and `load PART` read an archive on standard input; see --help.
"""

import argparse
import logging
import os
import shutil
import sqlite3
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from common.bootstrap import connect
from common.errors import ConfigurationError, CryptoBotError, InvalidRecord
from common.settings import Settings, load
from common.version import VERSION
from scripts.operations.backup_archive import ArchiveWriter, Manifest, read_archive
from scripts.operations.backup_files import grafana_files, is_database, online_copy, tsdb_snapshot, without_secrets
from scripts.operations.backup_restore import fit_ledger, put_in_place

_VOLUMES = Path("/volumes")
#: Databases of ours: part, and the file in its volume.
_DATABASES = {"execution": "trading.db", "risk-manager": "risk.db"}
_STAGED, _STAMP = ".restore", "%Y%m%dT%H%M%SZ"
#: What is restored in the place of what is there; the metrics of before are not kept beside, since they may be large.
_LOADED = ("execution", "risk-manager", "grafana", "prometheus")


def main(arguments: Sequence[str], environment: Mapping[str, str], stdin: IO[bytes], stdout: IO[bytes]) -> int:
    """Exit status: 0 done, 1 failed, 2 wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        match options.command:
            case "save":
                _save(options, stdin, stdout)
            case "verify":
                _say(_verified(read_archive(stdin), options.environment))
            case "load":
                _say(_load(options, stdin))
            case "fit":
                _say([_fit(options.volumes, load(Settings, environment))])
            case _:
                stdout.write("".join(f"{name}\n" for name in _what_is_there(options.volumes)).encode())
    except ConfigurationError as error:
        return _complain(error.problems)
    except (CryptoBotError, OSError, sqlite3.Error) as error:
        return _complain([str(error)])
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m scripts.operations.backup", description="The work behind scripts/backup.sh.")
    parser.add_argument("command", choices=("save", "verify", "load", "fit", "there"), help="fit: a restored ledger to its broker; there: what volumes hold")
    parser.add_argument("part", nargs="?", choices=(*_LOADED, "settings"), help="what to save or load; settings are an env file on standard input")
    parser.add_argument("--environment", default="development", help="named in the backup, and required of one that is read")
    parser.add_argument("--name", default="env", help="name of the env file in the backup")
    parser.add_argument("--volumes", type=Path, default=_VOLUMES, help="folder that the volumes are mounted in")
    return parser


def _say(lines: Sequence[str]) -> None:
    sys.stderr.write("".join(f"{line}\n" for line in lines))


def _complain(problems: Sequence[str]) -> int:
    _say([f"backup: {problem}" for problem in problems])
    return 1


# --- save -------------------------------------------------------------------------------------------------------------


def _save(options: argparse.Namespace, stdin: IO[bytes], stdout: IO[bytes]) -> None:
    about = {"environment": options.environment, "version": VERSION, "taken_at": datetime.now(UTC).isoformat(timespec="seconds")}
    writer = ArchiveWriter(stdout, options.part, about)
    folder = options.volumes / options.part
    if options.part == "settings":
        writer.add_bytes(without_secrets(stdin.read().decode()).encode(), options.name)
    elif options.part == "grafana":
        _save_grafana(writer, folder)
    elif options.part == "prometheus":
        _save_prometheus(writer, folder)
    else:
        _save_database(writer, folder / _DATABASES[options.part])
    writer.finish()


def _save_database(writer: ArchiveWriter, database: Path) -> None:
    if not database.exists():
        writer.note("missing", f"{database.name} was not there: the service has not started yet")
        return
    with online_copy(database) as copy, closing(sqlite3.connect(copy)) as connection:
        writer.note("integrity", "ok")
        writer.note("stamp", dict(connection.execute("SELECT name, value FROM stamps")))
        writer.add(copy, database.name)


def _save_grafana(writer: ArchiveWriter, folder: Path) -> None:
    for path in grafana_files(folder):
        name = str(path.relative_to(folder))
        if is_database(path):
            with online_copy(path) as copy:
                writer.add(copy, name)
        else:
            writer.add(path, name)


def _save_prometheus(writer: ArchiveWriter, folder: Path) -> None:
    with tsdb_snapshot(folder) as snapshot:
        for path in sorted(snapshot.rglob("*")):
            if path.is_file():
                writer.add(path, str(path.relative_to(snapshot)))


# --- verify and load --------------------------------------------------------------------------------------------------


def _verified(manifests: Sequence[Manifest], environment: str) -> list[str]:
    """A line a part; raises InvalidRecord for a backup of the other environment."""
    for manifest in manifests:
        if manifest.about.get("environment") != environment:
            raise InvalidRecord(f"it is a backup of {manifest.about.get('environment')}, not of {environment}: paper never becomes live; give the right -e")
    return [_line(manifest) for manifest in manifests]


def _line(manifest: Manifest) -> str:
    size_mb = sum(size for size, _ in manifest.files.values()) / 2**20
    found = "".join(f", {name} {value}" for name, value in manifest.found.items() if name != "stamp")
    files = f"{len(manifest.files)} file{'s' if len(manifest.files) != 1 else ''}"
    return f"  {manifest.part:<13} {size_mb:8.1f} MB in {files}{found}"


def _load(options: argparse.Namespace, stdin: IO[bytes]) -> list[str]:
    """Stage and check a part before anything that is there is touched."""
    part, volume = options.part, options.volumes / options.part
    staged = volume / _STAGED
    shutil.rmtree(staged, ignore_errors=True)
    staged.mkdir()

    def target(path: str) -> Path | None:
        own, _, name = path.partition("/")
        return staged / name if own == part else None

    try:
        manifests = read_archive(stdin, target)
        _verified(manifests, options.environment)
    except CryptoBotError:
        shutil.rmtree(staged)
        raise
    if part not in {manifest.part for manifest in manifests}:
        staged.rmdir()
        return [f"  {part:<13} is not in this backup, left as it is"]
    replaced = f"replaced-{datetime.now(UTC).strftime(_STAMP)}"
    keep = part != "prometheus"
    before = put_in_place(staged, volume, replaced, keep=keep)
    kept = f"; what was there is in {replaced} of its volume" if before and keep else ""
    return [f"  {part:<13} restored{kept}"]


def _fit(volumes: Path, settings: Settings) -> str:
    ledger, risk = (volumes / part / name for part, name in _DATABASES.items())
    transport = connect(settings, "backup", "restore")
    return f"  {fit_ledger(ledger, risk, transport)}"


def _what_is_there(volumes: Path) -> list[str]:
    """A line for each of our databases that a restore would replace."""
    return [str(Path(part, name)) for part, name in _DATABASES.items() if (volumes / part / name).exists()]


if __name__ == "__main__":
    # What the libraries have to say of servers that are just starting.
    logging.disable(logging.WARNING)
    status = main(sys.argv[1:], os.environ, sys.stdin.buffer, sys.stdout.buffer)
    sys.stdout.buffer.flush()
    sys.stderr.flush()
    # Kafka's client may hang in its end.
    os._exit(status)
