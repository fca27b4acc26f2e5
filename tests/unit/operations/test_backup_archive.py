"""The form of a backup: what is read back is what was written, or it is refused by name."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from common.errors import InvalidRecord
from scripts.operations.backup_archive import ArchiveWriter, read_archive

ABOUT = {"environment": "development"}


def part(name: str, **files: bytes) -> bytes:
    stream = io.BytesIO()
    writer = ArchiveWriter(stream, name, ABOUT)
    for file, content in files.items():
        writer.add_bytes(content, file)
    writer.note("integrity", "ok")
    writer.finish()
    return stream.getvalue()


def joined(*parts: bytes, change: Callable[[tarfile.TarInfo, bytes], bytes | None] = lambda _, content: content) -> io.BytesIO:
    """One archive of several parts, as the script makes it: unpacked and packed again; `change` may change or leave out a file."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as target:
        for each in parts:
            with tarfile.open(fileobj=io.BytesIO(each)) as source:
                for entry in source:
                    file = source.extractfile(entry)
                    assert file is not None
                    content = change(entry, file.read())
                    if content is not None:
                        entry.size = len(content)
                        target.addfile(entry, io.BytesIO(content))
    return io.BytesIO(made.getvalue())


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """Parts and findings come back, and the files that are wanted are written, whatever else is in the archive."""
    archive = joined(part("execution", db=b"a" * 3_000_000), part("grafana", db=b"b", other=b""))
    manifests = read_archive(archive, lambda path: tmp_path / path if path.startswith("execution/") else None)
    assert [(each.part, each.about, len(each.files), each.found) for each in manifests] == [
        ("execution", ABOUT, 1, {"integrity": "ok"}),
        ("grafana", ABOUT, 2, {"integrity": "ok"}),
    ]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["db"]
    assert (tmp_path / "execution" / "db").read_bytes() == b"a" * 3_000_000


def test_a_file_that_grows_is_taken_as_it_was(tmp_path: Path) -> None:
    """What is appended while it is read is left out, and the hash is of what was taken."""
    path = tmp_path / "log"
    path.write_bytes(b"1234")
    stream = io.BytesIO()
    writer = ArchiveWriter(stream, "prometheus", ABOUT)
    writer.add(path, "log")
    writer.finish()
    path.write_bytes(b"12345")
    (manifest,) = read_archive(io.BytesIO(stream.getvalue()))
    assert manifest.files["prometheus/log"][0] == 4


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda entry, content: b"x" + content[1:] if entry.name == "execution/db" else content, "execution/db: is not what was backed up"),
        (lambda entry, content: None if entry.name == "execution/db" else content, "execution/db: is in the manifest and not in the archive"),
        (lambda entry, content: None if entry.name.startswith("manifest") else content, "no manifest"),
        (lambda entry, content: b"{" if entry.name.startswith("manifest") else content, "manifest/execution.json: cannot be read"),
    ],
)
def test_what_was_changed_is_refused(change: Callable[[tarfile.TarInfo, bytes], bytes | None], problem: str) -> None:
    """A changed, missing or unreadable file is named."""
    with pytest.raises(InvalidRecord, match=problem):
        read_archive(joined(part("execution", db=b"abc"), change=change))


def test_a_file_of_no_manifest_is_refused() -> None:
    """Nobody adds a file."""
    added = joined(
        part("execution", db=b"abc"), part("risk-manager", db=b"abc"), change=lambda entry, content: None if "risk-manager.json" in entry.name else content
    )
    with pytest.raises(InvalidRecord, match="risk-manager/db: is in the archive and in no manifest"):
        read_archive(added)


def test_an_archive_that_is_cut_off_or_none_is_refused() -> None:
    """Half an archive, or something else, is not restored."""
    whole = joined(part("execution", db=bytes(range(256)) * 1000)).getvalue()
    for content in (whole[: len(whole) // 2], b"", b"no archive at all"):
        with pytest.raises(InvalidRecord):
            read_archive(io.BytesIO(content))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "execution/../../outside"])
def test_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    """A path that leads out of the archive's folder is refused before anything is written."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(name), io.BytesIO())
    with pytest.raises(InvalidRecord, match="only files, each within its part"):
        read_archive(io.BytesIO(made.getvalue()), lambda path: tmp_path / path)
    assert list(tmp_path.iterdir()) == []
