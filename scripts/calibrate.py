"""Compare the filter's scale-free start with pykalman's EM on recorded closes, offline.

EM is shown as a reading of the observation noise R and of the sanity of z, never as advice for alpha's process noise:
maximum likelihood lets the intercept follow the spread, and nothing is left to trade.
"""

import argparse
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd
from pykalman import KalmanFilter

from services.kalman_filter.filter import FilterParameters, FilterState, WarmUp, evaluate, first_state, observe, update
from services.kalman_filter.settings import KalmanSettings

_READERS: dict[str, Callable[[Path], pd.DataFrame]] = {".feather": pd.read_feather, ".csv": pd.read_csv}


class UnusableInputError(Exception):
    """A file or option cannot be used; the message says which, why and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """How well one setting of the filter describes a series.

    `noise_bps` is sqrt(R), `log_likelihood` that of the innovations, `deviation` and `autocorrelation` those of z with the
    filter's own S = x'Px + R.
    """

    name: str
    noise_bps: float
    deviation: float
    autocorrelation: float
    log_likelihood: float

    def __str__(self) -> str:
        return f"{self.name:<22}{self.noise_bps:>12.2f}{self.deviation:>10.3f}{self.autocorrelation:>10.3f}{self.log_likelihood:>14.1f}"


def main(arguments: Sequence[str]) -> int:
    """Run the comparison; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        log_prices = read_log_prices(options.y, options.x, options.bars)
        reports = compare(log_prices, options.iterations)
    except UnusableInputError as error:
        sys.stderr.write(f"calibrate: {error}\n")
        return 2
    lines = [f"{len(log_prices)} bars", f"{'setting':<22}{'sqrt R, bps':>12}{'z sd':>10}{'z acf1':>10}{'log likelihood':>14}", *map(str, reports)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def read_log_prices(y: Path, x: Path, bars: int) -> npt.NDArray[np.float64]:
    """The last `bars` log closes that both files have, rows (x, y)."""
    closes = pd.concat([_closes(x), _closes(y)], axis=1, join="inner").tail(bars)
    if not (closes > 0).all(axis=None):
        raise UnusableInputError(f"{y} and {x}: every close must be a positive number; remove the rows that are not")
    log_prices: npt.NDArray[np.float64] = np.log(closes.to_numpy(dtype=float))
    return log_prices


def compare(log_prices: npt.NDArray[np.float64], iterations: int) -> list[Report]:
    """The scale-free start, and the same filter with R by `iterations` steps of EM on the warm-up's continuation."""
    parameters = KalmanSettings().parameters
    rest = log_prices[parameters.warm_up_bars :]
    if len(rest) < parameters.warm_up_bars:
        raise UnusableInputError(f"{len(log_prices)} common bars: at least {2 * parameters.warm_up_bars} are needed; give longer files or a larger --bars")
    started = _start(parameters, log_prices)
    by_em = _with_noise(started, em_noise(started, rest, iterations))
    return [assess("scale-free start", started, rest), assess(f"R by EM, {iterations} steps", by_em, rest)]


def em_noise(state: FilterState, log_prices: npt.NDArray[np.float64], iterations: int) -> float:
    """R by expectation maximisation, all else as in `state`; its centre of x stays where it is."""
    x = log_prices[:, 0] - state.x_centre
    reference = KalmanFilter(
        transition_matrices=np.eye(2),
        observation_matrices=np.stack([np.ones_like(x), x], axis=1)[:, np.newaxis, :],
        transition_covariance=np.diag([state.alpha_process_variance, state.beta_process_variance]),
        observation_covariance=[[state.noise_variance]],
        initial_state_mean=[state.alpha, state.beta],
        initial_state_covariance=np.diag([state.initial_alpha_variance, state.initial_beta_variance]),
        em_vars=["observation_covariance"],
    )
    return float(reference.em(log_prices[:, 1], n_iter=iterations).observation_covariance[0, 0])


def assess(name: str, state: FilterState, log_prices: npt.NDArray[np.float64]) -> Report:
    """Run the filter over the rows and judge its innovations."""
    noise = state.noise_variance
    scores, log_likelihood = [], 0.0
    for x, y in log_prices.tolist():
        prediction = evaluate(state, x, y)
        variance = prediction.parameter_variance + state.noise_variance
        scores.append(prediction.innovation / math.sqrt(variance))
        log_likelihood -= 0.5 * (math.log(2 * math.pi * variance) + scores[-1] ** 2)
        state = update(state, x, y)
    return Report(name, math.sqrt(noise) * 1e4, float(np.std(scores)), float(np.corrcoef(scores[1:], scores[:-1])[0, 1]), log_likelihood)


def _start(parameters: FilterParameters, log_prices: npt.NDArray[np.float64]) -> FilterState:
    warm_up = WarmUp()
    for x, y in log_prices[: parameters.warm_up_bars].tolist():
        warm_up = observe(warm_up, x, y)
    started = first_state(parameters, warm_up)
    if isinstance(started, str):
        raise UnusableInputError(f"no start: {started}; give other files or a larger --bars")
    return started


def _with_noise(state: FilterState, noise_variance: float) -> FilterState:
    return msgspec.structs.replace(state, noise_variance=noise_variance)


def _closes(path: Path) -> pd.Series:
    """Closes by time of one file of klines."""
    reader = _READERS.get(path.suffix)
    if reader is None:
        raise UnusableInputError(f"{path}: its name must end in one of {', '.join(_READERS)}")
    try:
        frame = reader(path)
        times = next(name for name in ("date", "open_time", "time") if name in frame.columns)
        closes: pd.Series = frame.set_index(times)["close"].astype(float)
    except (OSError, ValueError, KeyError, StopIteration) as error:
        raise UnusableInputError(f"{path}: no readable klines with a time column (date, open_time or time) and `close`") from error
    return closes


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="calibrate", description="Compare the filter's start with EM on recorded one-minute closes.")
    parser.add_argument("y", type=Path, help="klines of the dependent leg, .feather or .csv with a header")
    parser.add_argument("x", type=Path, help="klines of the hedge leg")
    parser.add_argument("--bars", type=int, default=1000, help="newest common bars to use (default 1000)")
    parser.add_argument("--iterations", type=int, default=10, help="steps of EM, about 0.2 ms per bar and step (default 10)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
