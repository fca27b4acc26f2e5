"""Whether an act left what it must: an undisturbed run's messages and ledger, or those of a replay of its `ticks`."""

import tempfile
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from common.messages import WriterEpoch
from common.processor import Transport
from common.topics import TICKS
from scripts.embedded.options import Options
from scripts.faults.schedule import Story
from scripts.offline import Offline, public_frames
from scripts.replay import compare_session, replay_from
from scripts.sessions.compare import Comparison, compare_ledgers, compare_messages
from scripts.sessions.ledgers import ledger
from scripts.sessions.recorded import read_session, rules_of_recording
from services.exchange_simulator.store import Wanted, open_recording
from services.execution.ledger import LEDGER_FILE


def compare_act(story: Story, options: Options, environment: Mapping[str, str], transport: Transport, frames: int) -> list[Comparison]:
    """Compare all messages and the ledger of an act of whose recording so many frames were played."""
    ledger_file = Path(environment["DATA_DIR"]) / LEDGER_FILE
    rules = rules_of_recording(options.recording, options.market, options.symbols)
    if story is Story.REPLAY:
        return replay_from(transport, environment, rules, ledger_file)
    played = islice(open_recording(options.recording, Wanted(options.market, options.symbols)).frames(), frames)
    session = read_session(transport)
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        undisturbed = Offline(environment, public_frames(played, options.market), rules, Path(folder), partitions=session.partitions, place=session.place)
        undisturbed.run()
        undisturbed.stop()
        ticks = compare_messages(TICKS.name, session.tick_messages(), [each for each in undisturbed.messages(TICKS) if not isinstance(each, WriterEpoch)])
        return [ticks, *compare_session(session, undisturbed), *compare_ledgers(ledger(ledger_file), ledger(Path(folder) / LEDGER_FILE))]
