"""Answers that a page keeps, so that it still shows what it last had when a source is away."""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from monitoring.streamlit.client import Away, Odd

#: Pages and people that ask for the same within this time share an answer.
FRESH_S = 0.4
#: A place that did not answer is left alone for so long: one page asks it for many things.
LEFT_ALONE_S = 1.5
#: Answers that are kept, and for how long without being asked for anew; the oldest go first.
MOST_KEPT, KEPT_S = 500, 3600.0


class Answer(NamedTuple):
    """The last answer there was; `problem` says why it is not of now."""

    value: Any
    age_s: float = 0.0
    problem: str = ""


class Kept:
    """Remembers answers by what was asked, for all pages of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._answers: dict[object, tuple[float, Any]] = {}
        self._away: dict[str, tuple[float, str]] = {}
        self._lock = threading.Lock()

    def ask(self, place: str, question: object, ask: Callable[[], Any]) -> Answer:
        """Ask, or give the last answer with its age and the reason: None when there was none yet."""
        now_s = self._clock()
        with self._lock:
            at_s, value = self._answers.get((place, question), (None, None))
            away_until_s, problem = self._away.get(place, (0.0, ""))
        age_s = now_s - at_s if at_s is not None else 0.0
        if at_s is not None and age_s < FRESH_S:
            return Answer(value)
        if now_s < away_until_s:
            return Answer(value, age_s, problem)
        try:
            value = ask()
        except Away as error:
            if not isinstance(error, Odd):
                with self._lock:
                    self._away[place] = self._clock() + LEFT_ALONE_S, str(error)
            return Answer(value, age_s, str(error))
        self._keep((place, question), value)
        return Answer(value)

    def _keep(self, key: object, value: Any) -> None:
        with self._lock:
            self._answers.pop(key, None)
            now_s = self._clock()
            self._answers[key] = now_s, value
            # The oldest come first.
            while len(self._answers) > MOST_KEPT or next(iter(self._answers.values()))[0] < now_s - KEPT_S:
                del self._answers[next(iter(self._answers))]
