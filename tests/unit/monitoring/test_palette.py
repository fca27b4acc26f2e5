"""The colours that dashboards and pages share."""

import itertools
from collections.abc import Iterator

import pytest

from common.messages import PositionState, Verdict
from monitoring import palette
from scripts.drill.rule_files import groups, rules_of
from services.execution.metrics import PROFIT_PARTS

#: White, and the panels and pages of both programs in the dark.
BACKGROUNDS = ("#FFFFFF", "#181B1F", "#0E1117")


def colours() -> Iterator[tuple[str, str]]:
    """Every colour and what it is for."""
    for name, value in vars(palette).items():
        if name.isupper():
            each = {name: value} if isinstance(value, str) else dict(value) if hasattr(value, "items") else dict(enumerate(value))
            yield from ((f"{name} {key}", colour) for key, colour in each.items())


def luminance(colour: str) -> float:
    """Relative luminance of sRGB, as WCAG 2 defines it."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Ratio of contrast, as WCAG 2 defines it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize(("name", "colour"), list(colours()))
def test_every_colour_can_be_told_from_light_and_from_dark(name: str, colour: str) -> None:
    """Three to one, which WCAG 2 asks of what is drawn."""
    assert min(contrast(colour, background) for background in BACKGROUNDS) >= 3, name


def test_what_is_drawn_together_differs() -> None:
    """No two series, states, verdicts or parts have one colour, nor have a line and what is drawn around it."""
    lines = (palette.SIGNAL, palette.THRESHOLD_ENTRY, palette.THRESHOLD_EXIT, palette.THRESHOLD_STOP, palette.LIMIT)
    mappings = (palette.VERDICTS, palette.POSITION_STATES, palette.PROFIT_PARTS, palette.SEVERITIES)
    for together in (palette.SERIES, lines, *(tuple(each.values()) for each in mappings), (palette.LEG_A, palette.LEG_B), (palette.PROFIT, palette.LOSS)):
        assert all(one != other for one, other in itertools.combinations(together, 2))


def test_there_is_a_colour_for_every_state_and_severity() -> None:
    """Whoever adds a state, a verdict, a part of the profit or a severity gives it a colour; the order is the one of their numbers."""
    assert list(palette.POSITION_STATES) == [state.value for state in PositionState]
    assert list(palette.VERDICTS) == [verdict.value for verdict in sorted(Verdict, key=lambda each: each.strictness)]
    assert set(palette.PROFIT_PARTS) == {*PROFIT_PARTS, "net"}
    severities = {rule.labels["severity"] for group in groups() for rule in rules_of(group) if rule.kind == "alert"}
    assert set(palette.SEVERITIES) == severities
