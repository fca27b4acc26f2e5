"""Rows of a health check: causes told from symptoms, one verdict, a table for people."""

import pytest

from scripts.operations.health_rows import Row, State, as_document, as_lines, explained, fault_lines, verdict_of

OK, NOTE, FOLLOWS, DEGRADED, DOWN = State


def states(*rows: Row) -> list[State]:
    return [row.state for row in explained(rows)]


@pytest.mark.parametrize(
    ("found", "word", "status"),
    [
        ([], "down", 2),
        ([OK, NOTE], "healthy", 0),
        ([OK, DEGRADED, FOLLOWS], "degraded", 1),
        ([DOWN, DEGRADED], "down", 2),
    ],
)
def test_the_worst_fault_is_the_verdict(found: list[State], word: str, status: int) -> None:
    """Notes are no faults, and who answers nothing at all is down."""
    verdict = verdict_of([Row("group", str(number), state, "") for number, state in enumerate(found)])
    assert (verdict.word, verdict.exit_status) == (word, status)


def test_a_symptom_follows_from_its_cause() -> None:
    """Along any number of steps only the first cause counts, and each symptom names it."""
    broker = Row("kafka", "broker", DOWN, "away", ("container kafka",))
    topic = Row("topic", "ticks", DEGRADED, "not known", ("kafka broker",))
    rows = explained([Row("container", "kafka", DOWN, "is paused"), broker, topic])
    assert [(row.state, row.because_of) for row in rows] == [(DOWN, ""), (FOLLOWS, "container kafka"), (FOLLOWS, "container kafka")]


def test_what_needs_only_healthy_rows_is_a_fault_of_its_own() -> None:
    """A need that is well, only noted or not looked at explains nothing; a well row needs no explanation."""
    halted = Row("trading", "halts", NOTE, "")
    assert states(Row("a", "x", OK, ""), Row("b", "y", DEGRADED, "", ("a x", "trading halts", "c none")), halted) == [OK, DEGRADED, NOTE]
    assert states(Row("a", "x", DOWN, ""), Row("b", "y", OK, "", ("a x",))) == [DOWN, OK]


def test_rows_that_need_each_other_do_not_hide_a_fault() -> None:
    """Two faulty rows that need each other leave a fault behind."""
    rows = [Row("a", "x", DEGRADED, "", ("b y",)), Row("b", "y", DEGRADED, "", ("a x",)), Row("a", "x2", DEGRADED, "", ("a x2",))]
    assert verdict_of(explained(rows)).exit_status == 1


def test_the_table_tells_what_is_wrong_and_counts_the_rest() -> None:
    """Each group has a line; below it stand faults and notes, with their reasons, and symptoms only in the whole table."""
    rows = explained(
        [
            Row("container", "redis", DEGRADED, "exited"),
            Row("redis", "server", DEGRADED, "away", ("container redis",)),
            Row("trading", "halts", NOTE, "by drawdown"),
            Row("topic", "ticks", OK, "as defined"),
        ]
    )
    assert as_lines(rows, "development", verbose=False) == [
        "degraded  container      0 of 1",
        "  degraded  redis  exited",
        "follows   redis          0 of 1, because of container redis",
        "note      trading        1 of 1",
        "  note      halts  by drawdown",
        "ok        topic          1 of 1",
        "development: degraded (4 rows: 1 degraded, 1 that follow, 1 to note)",
    ]
    assert "  follows   server  away (because of container redis)" in as_lines(rows, "development", verbose=True)
    assert fault_lines(rows) == ["degraded  container redis: exited"]


def test_the_document_has_every_row() -> None:
    """Programs get all rows, each with its reason, and the verdict."""
    document = as_document([Row("kafka", "broker", OK, "1 broker", ("container kafka",))], environment="production")
    assert document == {"verdict": "healthy", "environment": "production", "rows": [{"group": "kafka", "subject": "broker", "state": "ok", "text": "1 broker"}]}
