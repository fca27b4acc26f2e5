"""The summary of a run: for people and as JSON."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.embedded.options import ROOT
from scripts.embedded.plan import INGESTION, SERVICES
from scripts.embedded.run import Run


def summarise(run: Run, profile: str) -> dict[str, Any]:
    """Everything that a run did; `problems` is empty when all went well."""
    tally = run.tally
    accounting = run.infos.get(INGESTION, {}).get("details", {})
    latency = run.infos.get("execution-service", {}).get("details", {}).get("tick_to_decision_ms", {})
    return {
        "recording": shown_path(run.options.recording),
        "profile": profile,
        "frames": accounting.get("frames", 0),
        "ticks": accounting.get("ticks", 0),
        "bars": tally.counts["bars"],
        "bars_without_signal": len(tally.open_bars),
        "bars_by_model": dict(sorted(tally.bars_by_model.items())),
        "fits_accepted": sum(view.fits_accepted for view in tally.pairs.values()),
        "changepoint_actions": sum(tally.changepoint_actions.values()),
        **{name: tally.counts[name] for name in ("decisions", "round_trips", "orders", "fills", "rejected")},
        "dead_letters": accounting.get("dead_letters", 0),
        "conflated": accounting.get("conflated", 0),
        "ignored": sum(accounting.get("ignored", {}).values()),
        **{name: float(amount) for name, amount in tally.money().items()},
        "open_positions": tally.open_positions(),
        "tick_to_decision_ms": {name: latency.get(name) for name in ("p50", "p99", "max")},
        "services": services_of(run),
        "problems": problems_of(run, accounting),
    }


def shown_path(path: Path) -> str:
    """A path within the project relative to it, others whole."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def services_of(run: Run) -> dict[str, dict[str, Any]]:
    """Restarts, memory and records handled of every process."""
    return {
        process.name: {
            "restarts": process.restarts,
            "rss_mb": run.resident_mb.get(process.name, 0.0),
            "messages": messages_of(run, process.name),
        }
        for process in run.processes
    }


def messages_of(run: Run, name: str) -> int:
    """Records that a service handled since its last start; frames sent, for the simulator."""
    if name not in SERVICES:
        return int(run.simulator.get("frames_sent", 0))
    return int(run.infos.get(name, {}).get("activity", {}).get("consumed", 0))


def problems_of(run: Run, accounting: Mapping[str, Any]) -> list[str]:
    """What did not go well, one line each."""
    problems = list(run.problems)
    problems += [f"{process.name} was restarted {process.restarts} times; see {process.log}" for process in run.processes if process.restarts]
    # Ingestion's are frames, which the books account for.
    problems += [f"{name} set {count} records aside; see the topic dead-letters" for name, count in run.tally.dead_letters.items() if name != INGESTION]
    if run.simulator.get("problem"):
        problems.append(f"the recording: {run.simulator['problem']}")
    # Frames that ingestion holds back are pending; after the end of a recording there are none.
    parts = ("ticks", "conflated", "dead_letters", "pending")
    counted = sum(accounting.get(name, 0) for name in parts) + sum(accounting.get("ignored", {}).values())
    if accounting.get("pending") and run.tally.ended:
        problems.append(f"{accounting['pending']} frames were never dealt with")
    if accounting.get("frames", 0) != counted:
        problems.append(f"the books do not balance: {accounting.get('frames', 0)} frames, {counted} accounted for")
    if run.tally.open_bars and not run.interrupted:
        problems.append(f"{len(run.tally.open_bars)} bars got no risk signal")
    return problems


def lines_of(summary: Mapping[str, Any], run: Run) -> list[str]:
    """The summary for people."""
    latency = summary["tick_to_decision_ms"]
    models = ", ".join(f"{name} {count}" for name, count in summary["bars_by_model"].items()) or "none"
    parts = ("gross_pnl_usd", "gross"), ("fees_usd", "fees"), ("funding_usd", "funding"), ("net_pnl_usd", "net")
    money = ", ".join(f"{word} {summary[name]:+,.2f}" for name, word in parts)
    lines = [
        f"recording   {summary['recording']}",
        f"profile     {summary['profile']}",
        (
            f"data        {summary['frames']} frames: {summary['ticks']} ticks, {summary['conflated']} conflated, {summary['ignored']} ignored, "
            f"{summary['dead_letters']} dead letters; {summary['bars']} bars"
        ),
        f"models      bars by volatility model: {models}; {summary['fits_accepted']} fits accepted; {summary['changepoint_actions']} changepoint actions",
        (
            f"trading     {summary['decisions']} decisions, {summary['orders']} orders, {summary['fills']} fills, {summary['rejected']} rejected; "
            f"{summary['round_trips']} round trips, {summary['open_positions']} positions open"
        ),
        f"P&L         {money} USD",
        f"latency     frame read to decision: p50 {latency['p50']}, p99 {latency['p99']}, max {latency['max']} ms",
    ]
    if not summary["round_trips"]:
        lines.append(f"no trades   {why_no_trade(run)}")
    lines += [f"problem     {problem}" for problem in summary["problems"]]
    return lines


def what_it_did(run: Run) -> str:
    """One sentence on a run, for the run beside it."""
    counts = run.tally.counts
    if counts["decisions"]:
        return f"{counts['decisions']} decisions, {counts['round_trips']} round trips, net {run.tally.money()['net_pnl_usd']:+,.2f} USD"
    return f"no trade: {why_no_trade(run)}"


def why_no_trade(run: Run) -> str:
    """Which gate kept the strategy out, at the last ticks of the bars."""
    gates, rules = run.tally.blocking_gates(), run.tally.restraining_rules()
    if not gates:
        return "no bar came far enough to be judged"
    blocked = f"entries were blocked, at the last tick of each bar, by: {_listed(gates)}"
    return f"{blocked}; behind the gate trading stood the risk rules: {_listed(rules)}" if gates["trading"] and rules else blocked


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count} bars)" for name, count in counts.most_common(5))
