"""Random records by a seed: the same every time, and all of them of no use to anybody."""

from collections import Counter

import pytest

from scripts.fuzz import main
from scripts.poison.garbage import READERS, STRANGERS_DROPPED, expected, garbage
from tests.poison.chamber import PARTITIONS, READS, Poison, clean, good, run


def test_a_seed_throws_the_same_records() -> None:
    """Another seed throws others; what is expected follows from the records."""
    assert list(garbage(200, 7, 6)) == list(garbage(200, 7, 6)) != list(garbage(200, 8, 6))
    sent = Counter(record.topic for record in garbage(200, 7, 6))
    assert set(sent) == set(READERS)
    assert expected(200, 7, 6) == Counter({(service, topic.name): sent[topic] for topic, services in READERS.items() for service in services})


@pytest.mark.parametrize("name", READS)
def test_each_reader_sets_all_of_it_aside(name: str) -> None:
    """Each record is set aside once by each of its readers, or counted as a stranger's, and the good ones are answered as before."""
    poison = [Poison(each.topic, each.value, len(good(each.topic)) // 2, each.key, each.partition) for each in garbage(1500, 1, PARTITIONS)]
    outcome = run(name, poison)
    wanted = {source: amount for (service, source), amount in expected(1500, 1, PARTITIONS).items() if service.startswith(name)}
    strangers = int(outcome.dropped.get(STRANGERS_DROPPED, 0))
    assert len(outcome.dead_letters) + strangers == sum(wanted.values())
    assert all(letters <= wanted[source] for source, letters in Counter(letter.source for letter in outcome.dead_letters).items())
    assert set(outcome.dropped) <= {STRANGERS_DROPPED}
    assert outcome.answers == clean(name).answers


def test_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to throw is no run."""
    assert main(["--records", "0"]) == 2
    assert "--records and --memory must be at least 1" in capsys.readouterr().err
