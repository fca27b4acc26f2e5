"""A process that `test_lease.py` lets hold a file: it does what each line on stdin says, and answers with one line."""

import sys
import threading
from itertools import count
from pathlib import Path

from common.errors import LeaseLost
from common.io.sqlite import Database

SCHEMA = "CREATE TABLE notes (text TEXT NOT NULL) STRICT"


def answer(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main(path: Path) -> None:
    """Take the file and obey."""
    # Two seconds pass from look to look, so a renewal is always due.
    database = Database(path, holder="first", migrations=(SCHEMA,), stamp={}, monotonic=count(step=2).__next__)
    answer("taken")
    for line in sys.stdin:
        try:
            obey(database, line.strip())
        except LeaseLost as error:
            answer(str(error))
        else:
            answer("done")


def obey(database: Database, order: str) -> None:
    """One order."""
    match order:
        case "renew":
            database.renew()
        case "hang":
            with database.transaction() as connection:
                connection.execute("INSERT INTO notes VALUES ('never')")
                answer("hanging")
                threading.Event().wait()
        case note:
            with database.transaction() as connection:
                connection.execute("INSERT INTO notes VALUES (?)", (note,))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
