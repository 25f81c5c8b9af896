"""What a bench has measured, as tables, as a chart and as a page. No input or output here."""

from __future__ import annotations

import re
from html import escape
from statistics import median
from typing import Any

Runs = list[dict[str, Any]]
# Median seconds of Kamal 2.11 with 2, 4 and 8 hosts on this kind of machine: app ready two seconds after its start, the image's base on the hosts.
KAMAL = {
    "deploy": {2: 8.6, 4: 9.9, 8: 11.7},
    "one by one": {2: 11.7, 4: 20.1, 8: 33.5},
    "nothing changed": {2: 9.0, 4: 10.1, 8: 13.1},
    "rollback": {2: 6.0, 4: 7.6, 8: 9.2},
}
TASK = re.compile(r"^(.+?) -+ (\d+(?:\.\d+)?)s$", re.M)
HEALTH = "Wait for health and shift the traffic"
WIDTH, ROW = 760, 20


def tasks(output: str) -> dict[str, float]:
    """Task → seconds, from what ansible.posix.profile_tasks prints at the end of a run."""
    found: dict[str, float] = {}
    for name, seconds in TASK.findall(output):
        found[name.strip()] = round(found.get(name.strip(), 0.0) + float(seconds), 2)
    return found


def overhead(hosts: dict[str, Any], settle: float) -> float | None:
    """How much longer than it must a host was released, in percent of its floor: drain, start until the app answers, and the time for which it must stay
    healthy. A new target is healthy with its first good check, which may come at once, so that none is in the floor."""
    rows = [row for row in hosts.values() if row.get("seconds") and {"drain", "start"} <= set(row.get("steps") or {})]
    if not rows:
        return None
    floors = [row["steps"]["drain"] + row["steps"]["start"] + settle for row in rows]
    return round(100 * (sum(row["seconds"] for row in rows) / sum(floors) - 1), 1)


def medians(runs: Runs) -> dict[tuple[str, str, int], float]:
    """(strategy, what, hosts) → median seconds."""
    groups: dict[tuple[str, str, int], list[float]] = {}
    for run in runs:
        groups.setdefault((run["strategy"], run["what"], run["hosts"]), []).append(run["seconds"])
    return {key: round(median(values), 1) for key, values in groups.items()}


def starts(hosts: dict[str, Any]) -> float | None:
    """Seconds from a host's order to start the service until the app has answered it (median of the hosts)."""
    rows = [row["steps"]["start"] for row in hosts.values() if "start" in (row.get("steps") or {})]
    return round(median(rows), 1) if rows else None


def beyond(runs: Runs) -> str:
    """The overhead of a host, in words."""
    over = [run["overhead_percent"] for run in runs if run.get("overhead_percent") is not None]
    return f"{median(over):.0f} % (median)" if over else "not measured"


def without_health(runs: Runs) -> str:
    """How long a deploy with two colours took but for the wait for the load balancer: `2 hosts 6.1 s, 8 hosts 11.5 s`."""
    found: dict[int, list[float]] = {}
    for run in runs:
        if (run["strategy"], run["what"]) == ("blue_green", "deploy"):
            waited = sum(seconds for name, seconds in run["tasks"].items() if name.endswith(HEALTH))
            found.setdefault(run["hosts"], []).append(run["seconds"] - waited)
    return ", ".join(f"{hosts} hosts {median(seconds):.1f} s" for hosts, seconds in sorted(found.items())) or "not measured"


def brief(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the tasks that count: a tenth of a second or more."""
    return {**document, "runs": [{**run, "tasks": {name: one for name, one in run["tasks"].items() if one >= 0.1}} for run in document["runs"]]}


def table(runs: Runs) -> str:
    """The medians as a table in markdown, Kamal's beside them."""
    found = medians(runs)
    sizes = sorted({hosts for _strategy, _what, hosts in found})
    head = "| strategy | what |" + "".join(f" {size} hosts | Kamal |" for size in sizes)
    lines = [head, "|---|---|" + "---:|---:|" * len(sizes)]
    for strategy, what in dict.fromkeys((strategy, what) for strategy, what, _hosts in found):
        cells = (f" {found.get((strategy, what, size), '–')} | {KAMAL.get(what, {}).get(size, '–')} |" for size in sizes)
        lines.append(f"| {strategy} | {what} |" + "".join(cells))
    return "\n".join(lines)


def split(runs: Runs) -> str:
    """Where the time of each kind of run went, as a table: its phases, and the longest of its tasks."""
    lines = ["| strategy | what | hosts | phases (s) | longest tasks (s) |", "|---|---|---:|---|---|"]
    for strategy, what, hosts in medians(runs):
        same = [run for run in runs if (run["strategy"], run["what"], run["hosts"]) == (strategy, what, hosts)]
        run = sorted(same, key=lambda one: one["seconds"])[len(same) // 2]
        longest = sorted(run["tasks"].items(), key=lambda item: -item[1])[:6]
        phases = ", ".join(f"{phase} {seconds:g}" for phase, seconds in run["phases"].items())
        names = ", ".join(f"{name.rpartition(' : ')[2].replace(' | ', ': ')} {seconds:g}" for name, seconds in longest)
        lines.append(f"| {strategy} | {what} | {hosts} | {phases or '–'} | {names} |")
    return "\n".join(lines)


def chart(runs: Runs) -> str:
    """The medians as bars, an SVG of its own; Kamal's in grey."""
    found = medians(runs)
    bars = []
    for (strategy, what, hosts), seconds in found.items():
        bars.append((f"{what}, {strategy}, {hosts} hosts", seconds, "#4f7fc4"))
        if what in KAMAL and hosts in KAMAL[what]:
            bars.append((f"{what}, Kamal, {hosts} hosts", KAMAL[what][hosts], "#9aa4b4"))
    top = max([seconds for _label, seconds, _colour in bars] + [1.0])
    height = ROW * len(bars) + 10
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">']
    for number, (label, seconds, colour) in enumerate(bars):
        y, length = ROW * number + 4, (WIDTH - 330) * seconds / top
        parts.append(f'<text x="0" y="{y + 12}" fill="#777">{escape(label)}</text><rect x="260" y="{y}" width="{length:.0f}" height="14" fill="{colour}"/>')
        parts.append(f'<text x="{265 + length:.0f}" y="{y + 12}" fill="#777">{seconds:g} s</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def page(document: dict[str, Any]) -> str:
    """docs/performance.md."""
    runs: Runs = document["runs"]
    failed = sum(run["requests_failed"] for run in runs)
    sent = sum(run["requests_sent"] for run in runs)
    kinds = [(run["strategy"], run["what"], run["hosts"]) for run in runs]
    fewest = min(map(kinds.count, kinds), default=0)
    alone = [run["start_seconds"] for run in runs if run["what"] == "one by one" and run.get("start_seconds") is not None]
    answers = f"{median(alone):.1f} s after its start was asked for" if alone else "not measured"
    return f"""# Performance

Written by `make bench` ({document["when"]}, {document["machine"]}). Median seconds of commands (runs of each kind: {fewest}), ansible's own start included,
on the same hosts with the same image under {document["rate"]} requests a second ({failed} of {sent} failed). `–`: not measured.
Kamal's figures are of version 2.11 on this kind of machine; its load balancer has no health checks to wait for, ours
({document["floor"]}) are part of each release. A deploy with two colours but for its wait for them: {without_health(runs)}.
Kamal's app was ready two seconds after its start and had 100 new connections a second; ours, started on one host alone, answers {answers}.

{table(runs)}

![seconds](performance.svg)

Overhead of a host over its floor (drain, start until the app answers, `min_healthy_seconds`): {beyond(runs)}. The load balancer's own check is in the overhead.
One host at a time each host costs its deregistration delay, which Kamal's proxy does not have: it is the larger part of those rows.
With two colours all of the traffic goes over at once and unwatched here; a stack's `release.weights` and `bake_seconds` come on top.

## Where the time goes

All of it as JSON: [performance.json](performance.json).

{split(runs)}
"""
