"""The form of a backup: a tar of files with a manifest for each part, and the proof that an archive holds what it says.

A part streams its files as they are read, so its manifest, with size and hash of each file, comes last.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from common.errors import InvalidRecord

_CHUNK_BYTES = 2**20
_MANIFESTS = "manifest"


class Manifest(NamedTuple):
    """What a part of a backup holds."""

    part: str
    #: Of the backup: environment, version, time.
    about: Mapping[str, str]
    #: Size in bytes and SHA-256 of each file, by its path in the archive.
    files: Mapping[str, tuple[int, str]]
    #: What was found when it was taken, such as the integrity of a database.
    found: Mapping[str, Any]


class ArchiveWriter:
    """Writes one part to a stream, and its manifest at the end."""

    def __init__(self, stream: IO[bytes], part: str, about: Mapping[str, str]) -> None:
        self._tar = tarfile.open(fileobj=stream, mode="w|")  # noqa: SIM115 - closed by finish
        self._part, self._about = part, dict(about)
        self._files: dict[str, tuple[int, str]] = {}
        self._found: dict[str, Any] = {}

    def add(self, source: Path, name: str) -> None:
        """Add a file under `part/name`, as long as it is now: what is appended while it is read is left out."""
        with source.open("rb") as file:
            self._add(file, name, source.stat().st_size)

    def add_bytes(self, content: bytes, name: str) -> None:
        """Add a file that is nowhere on disk."""
        self._add(io.BytesIO(content), name, len(content))

    def note(self, name: str, value: Any) -> None:
        """Put a finding into the manifest."""
        self._found[name] = value

    def finish(self) -> None:
        """Write the manifest and end the stream."""
        manifest = {"part": self._part, "about": self._about, "files": self._files, "found": self._found}
        content = json.dumps(manifest, indent=2).encode()
        self._tar.addfile(_entry(f"{_MANIFESTS}/{self._part}.json", len(content)), io.BytesIO(content))
        self._tar.close()

    def _add(self, file: IO[bytes], name: str, size: int) -> None:
        path = f"{self._part}/{name}"
        reader = _Hashing(file)
        self._tar.addfile(_entry(path, size), reader)
        self._files[path] = (size, reader.hexdigest())


class _Hashing:
    """Reads a file and hashes what was read."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._hash = file, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        content = self._file.read(size)
        self._hash.update(content)
        return content

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _entry(path: str, size: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(path)
    entry.size, entry.mode = size, 0o600
    return entry


# --- reading ----------------------------------------------------------------------------------------------------------

#: Takes the path of a file in the archive and where to write it, or None to only check it.
Target = Callable[[str], Path | None]


def read_archive(stream: IO[bytes], target: Target = lambda _: None) -> list[Manifest]:
    """Read an archive to its end, write what `target` wants of it, and compare every file with the manifests.

    Raises InvalidRecord, naming the file, when one is missing, added, cut off or changed, or when it is no archive of ours.
    """
    found: dict[str, tuple[int, str]] = {}
    manifests: list[Manifest] = []
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as tar:
            for path, file in _files(tar):
                if path.startswith(f"{_MANIFESTS}/"):
                    manifests.append(_manifest(path, file.read()))
                else:
                    found[path] = _copied(file, target(path))
    except (tarfile.TarError, EOFError, OSError) as error:
        raise InvalidRecord(f"the archive cannot be read to its end: {error}") from error
    _require_equal(manifests, found)
    return sorted(manifests, key=lambda manifest: manifest.part)


def _files(tar: tarfile.TarFile) -> Iterator[tuple[str, IO[bytes]]]:
    for entry in tar:
        path = PurePosixPath(entry.name.removeprefix("./"))
        if entry.isdir():
            continue
        file = tar.extractfile(entry) if entry.isfile() else None
        if file is None or path.is_absolute() or ".." in path.parts:
            raise InvalidRecord(f"{entry.name}: the archive holds only files, each within its part")
        yield str(path), file


def _copied(file: IO[bytes], target: Path | None) -> tuple[int, str]:
    reader, size = _Hashing(file), 0
    if target is None:
        while chunk := reader.read(_CHUNK_BYTES):
            size += len(chunk)
        return size, reader.hexdigest()
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as made:
        while chunk := reader.read(_CHUNK_BYTES):
            size += made.write(chunk)
    return size, reader.hexdigest()


def _manifest(path: str, content: bytes) -> Manifest:
    try:
        document = json.loads(content)
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in document["files"].items()}
        return Manifest(str(document["part"]), document["about"], files, document["found"])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidRecord(f"{path}: cannot be read ({error})") from error


def _require_equal(manifests: list[Manifest], found: Mapping[str, tuple[int, str]]) -> None:
    if not manifests:
        raise InvalidRecord("the archive has no manifest: it is none of scripts/backup.sh, or it is cut off")
    expected = {path: what for manifest in manifests for path, what in manifest.files.items()}
    if missing := sorted(expected.keys() - found.keys()):
        raise InvalidRecord(f"{missing[0]}: is in the manifest and not in the archive; take another backup")
    if added := sorted(found.keys() - expected.keys()):
        raise InvalidRecord(f"{added[0]}: is in the archive and in no manifest; take another backup")
    if changed := sorted(path for path, what in expected.items() if tuple(what) != found[path]):
        raise InvalidRecord(f"{changed[0]}: is not what was backed up (its hash or size differs); take another backup")
