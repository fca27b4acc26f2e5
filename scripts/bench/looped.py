"""Makes a recording of ticks longer: played again and again, each time later and with later ids, so that it is one feed."""

import gzip
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from common.errors import ConfigurationError

_NUMBERS = re.compile(rb'"([ETut])":\s*(\d+)')
_SECOND_NS = 1_000_000_000
_UNITS_NS = {13: 1_000_000, 16: 1000, 19: 1}

Shift = Mapping[bytes, int]


def shifted(line: bytes, shift_ns: int, ids: Shift) -> bytes:
    """A line of a tick file, `shift_ns` later by both clocks and its ids moved on; times in ms, us or ns."""

    def move(match: re.Match[bytes]) -> bytes:
        name, number = match[1], int(match[2])
        moved = number + (shift_ns // _UNITS_NS.get(len(match[2]), 1) if name in b"ET" else ids.get(name, 0))
        return b'"%b":%d' % (name, moved)

    head, _, payload = line.partition(b" ")
    later = int(head) + shift_ns // _UNITS_NS[len(head)]
    return b"%d %b" % (later, _NUMBERS.sub(move, payload))


def lines_of(path: Path) -> list[bytes]:
    """The frames of a tick file, a line each; what is none is left out."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return [line for line in file if line[:1].isdigit() and b'"stream"' in line[:60]]


def span_s(files: Iterable[list[bytes]]) -> int:
    """How long the files last together, whole seconds, rounded up."""
    times_ns = [_local_ns(line) for lines in files for line in (lines[0], lines[-1])]
    return max(1, math.ceil((max(times_ns) - min(times_ns)) / _SECOND_NS))


def _local_ns(line: bytes) -> int:
    digits = line.partition(b" ")[0]
    return int(digits) * _UNITS_NS[len(digits)]


def id_spans(lines: Iterable[bytes]) -> dict[bytes, int]:
    """By how much update and trade ids must move on so that they follow each other."""
    seen: dict[bytes, tuple[int, int]] = {}
    for line in lines:
        for name, text in _NUMBERS.findall(line):
            if name in b"ut":
                low, high = seen.get(name, (int(text), int(text)))
                seen[name] = min(low, int(text)), max(high, int(text))
    return {name: high - low + 1 for name, (low, high) in seen.items()}


def repeated(lines: list[bytes], times: int, seconds: int) -> Iterator[bytes]:
    """The lines again and again, each time `seconds` later."""
    spans = id_spans(lines)
    for turn in range(times):
        ids = {name: span * turn for name, span in spans.items()}
        yield from (shifted(line, turn * seconds * _SECOND_NS, ids) for line in lines)


def looped(source: Path, target: Path, seconds: float, say: Callable[[str], None]) -> Path:
    """A folder with the recording, long enough to play for so many seconds of its own time; made once. Raises ConfigurationError."""
    paths = sorted(path for path in (source.iterdir() if source.is_dir() else [source]) if path.suffix in {".gz", ".txt", ".jsonl"})
    files = {path: lines for path in paths if (lines := lines_of(path))}
    if not files:
        raise ConfigurationError([f"{source}: holds no tick files; give a folder such as data/ticks/usdm-20240808"])
    length_s = span_s(files.values())
    times = math.ceil(seconds / length_s)
    folder = target / f"{source.name}-{times}-times"
    complete = folder.with_suffix(".complete")
    if not complete.exists():
        say(f"making {times} times {length_s} s of {source.name}")
        folder.mkdir(parents=True, exist_ok=True)
        for path, lines in files.items():
            with gzip.open(folder / f"{path.stem}.gz", "wb", compresslevel=1) as file:
                file.writelines(repeated(lines, times, length_s))
        if (rules := source / "rules.json").exists():
            (folder / "rules.json").write_bytes(rules.read_bytes())
        complete.touch()
    return folder
