"""Make the recordings that ship in `data/` from a folder of source recordings.

The folder holds `MANIFEST.tsv` (file, repo, commit, path_in_repo, git_blob, license, ...), `LICENSES/`, `ticks/` and `klines-1m/`.
The same sources give the same files, byte for byte, with the same versions of pandas and pyarrow.
"""

import argparse
import csv
import gzip
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from common.errors import ConfigurationError
from services.exchange_simulator.exchange_info import RulesFile
from services.exchange_simulator.store import RULES_FILE, open_recording
from services.exchange_simulator.ticks import parse_line

_SHIPPED_LICENCE: Final = "MIT"


@dataclass(frozen=True, slots=True)
class Cut:
    """What of a source folder becomes a shipped recording."""

    source: str
    target: str
    copy: Callable[["Cut", Path, Path], None]
    files: str = "*"
    start: datetime | None = None
    end: datetime | None = None


def _cut_klines(cut: Cut, source: Path, target: Path) -> None:
    table = pd.read_feather(source)
    kept = table[(table["date"] >= cut.start) & (table["date"] < cut.end)].reset_index(drop=True)
    kept.to_feather(target, compression="zstd", compression_level=19)


def _copy(_: Cut, source: Path, target: Path) -> None:
    target.write_bytes(source.read_bytes())


def _cut_ticks(cut: Cut, source: Path, target: Path) -> None:
    """Keep the exact lines of a period by receive time, without order-book depth."""
    with target.open("wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=9, mtime=0) as written:
        written.writelines(_tick_lines(cut, source))


def _tick_lines(cut: Cut, source: Path) -> Iterator[bytes]:
    with gzip.open(source) as opened:
        for line in opened:
            frame = parse_line(line)
            if frame is not None and "@depth" not in frame.stream and _ns(cut.start) <= frame.time_ns < _ns(cut.end):
                yield line


def _ns(moment: datetime | None) -> int:
    return 0 if moment is None else int(moment.timestamp()) * 1_000_000_000


CUTS: Final = (
    Cut("klines-1m/usdm-202505", "klines/usdm-20250510", _cut_klines, "*.feather", datetime(2025, 5, 10, tzinfo=UTC), datetime(2025, 5, 13, tzinfo=UTC)),
    Cut("klines-1m/spot-20251029-full12col", "klines/spot-20251029", _copy),
    Cut(
        "ticks/usdm-btc-eth-20240808",
        "ticks/usdm-20240808",
        _cut_ticks,
        start=datetime(2024, 8, 8, 23, 56, tzinfo=UTC),
        end=datetime(2024, 8, 9, tzinfo=UTC),
    ),
    Cut(
        "ticks/spot-btc-eth-20240808",
        "ticks/spot-20240808",
        _cut_ticks,
        "*_20240808.gz",
        datetime(2024, 8, 8, 23, 59, tzinfo=UTC),
        datetime(2024, 8, 9, tzinfo=UTC),
    ),
)


def make(source: Path, target: Path) -> list[str]:
    """Write all recordings, their rules and the notice; returns a line about each."""
    manifest = _manifest(source)
    lines, shipped = [], []
    for cut in CUTS:
        folder = target / cut.target
        folder.mkdir(parents=True, exist_ok=True)
        for file in sorted((source / cut.source).glob(cut.files)):
            row = manifest[str(file.relative_to(source))]
            if row["license"] != _SHIPPED_LICENCE:
                raise ConfigurationError([f"{file}: its licence is {row['license']}, only {_SHIPPED_LICENCE} may ship"])
            cut.copy(cut, file, folder / file.name)
            shipped.append((f"{cut.target}/{file.name}", row))
        lines.append(_write_rules(folder))
    (target / "NOTICE.md").write_text(_notice(source, shipped), encoding="utf-8")
    return lines


def _manifest(source: Path) -> dict[str, dict[str, str]]:
    try:
        with (source / "MANIFEST.tsv").open(encoding="utf-8", newline="") as opened:
            return {row["file"]: row for row in csv.DictReader(opened, delimiter="\t")}
    except OSError as error:
        raise ConfigurationError([f"--source {source}: cannot be read ({error.strerror}); name the folder that holds MANIFEST.tsv"]) from error


def _write_rules(folder: Path) -> str:
    (folder / RULES_FILE).unlink(missing_ok=True)
    recording = open_recording(folder)
    rules = RulesFile(recording.market, tuple(recording.rules[symbol] for symbol in recording.symbols))
    (folder / RULES_FILE).write_bytes(msgspec.json.format(msgspec.json.encode(rules), indent=2) + b"\n")
    return f"{folder}: {recording.market}, {recording.frames_total} frames of {', '.join(recording.symbols)}"


def _notice(source: Path, shipped: Sequence[tuple[str, dict[str, str]]]) -> str:
    """Name where each file comes from, with the full licence texts."""
    parts = ["# Notice", "", "The recordings in this folder come from these public repositories and remain under their licences.", ""]
    parts += ["| file | repository | commit | path there | licence |", "|---|---|---|---|---|"]
    parts += [f"| `{file}` | {row['repo']} | `{row['commit']}` | `{row['path_in_repo']}` | {row['license']} |" for file, row in shipped]
    for repository in dict.fromkeys(row["repo"] for _, row in shipped):
        text = (source / "LICENSES" / f"{repository.replace('/', '+')}.txt").read_text(encoding="utf-8").strip()
        parts += ["", f"## {repository}", "", "```text", text, "```"]
    return "\n".join(parts) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run from the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m scripts.make_recordings", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--source", type=Path, required=True, metavar="FOLDER", help="folder of the source recordings")
    parser.add_argument("--target", type=Path, default=Path("data"), metavar="FOLDER", help="where to write them (default: data)")
    given = parser.parse_args(arguments)
    try:
        lines = make(given.source, given.target)
    except ConfigurationError as error:
        sys.stderr.write("".join(f"{problem}\n" for problem in error.problems))
        return 2
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
