# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""A release as one page of HTML that needs nothing else: what failed first, then who, what, when, and how long each host took. No input or output here.

A story is C({stack, environment, record, message, outcome, plan, timeline, phases, decisions, figures}); a bar of its timeline
C({lane, what, from, to}) with seconds since 1970, a figure C({title, unit, lines: {label: [[seconds, value]]}}).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document

WIDTH, LEFT, ROW = 900, 190, 26
COLOURS = {"look": "#8c96a8", "prepare": "#6f8fd8", "migrate": "#a678c8", "drain": "#d9a441", "start": "#4f9dc4", "healthy": "#57a773", "back": "#c95d5d"}
SERIES = ("#4f7fc4", "#57a773", "#d9a441", "#c95d5d", "#a678c8")
GOOD = ("succeeded", "unchanged")
STYLE = """
:root{--ink:#1d2430;--soft:#5d6675;--line:#d8dde5;--paper:#fff;--box:#f5f7fa}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ef;--soft:#9aa4b4;--line:#39414e;--paper:#15191f;--box:#1e242c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:960px;margin:2em auto;padding:0 1em}
h1{font-size:1.5em;margin:0}h2{font-size:1.1em;margin:2em 0 .5em;border-bottom:1px solid var(--line)}
.good{color:#2e8b57}.bad{color:#c0392b}.soft{color:var(--soft)}
pre{background:var(--box);padding:.8em;overflow-x:auto;font-size:13px;border-left:4px solid var(--line);white-space:pre-wrap}
pre.bad{color:inherit;border-left-color:#c0392b}
table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:.2em .8em .2em 0;vertical-align:top;border-bottom:1px solid var(--line)}
th{font-weight:normal;color:var(--soft);white-space:nowrap}svg{width:100%;height:auto}svg text{font:12px system-ui,sans-serif;fill:var(--ink)}
svg .soft{fill:var(--soft)}svg line{stroke:var(--line)}
"""


def identifier(record: Document) -> str:
    """What names the page: service, number and when it began."""
    began = "".join(sign for sign in str(record.get("when") or "")[:19] if sign.isdigit() or sign == "T")
    return f"{record['service']}-{record['number']}" + (f"-{began}" if began else "")


def _clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S}"


def ticks(start: float, end: float, about: int = 8) -> list[float]:
    """Round seconds after start at which an axis is marked."""
    span = max(end - start, 1.0)
    step = next((one for one in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200) if span / one <= about), 21600)
    return [start + step * number for number in range(int(span // step) + 1)]


def _axis(start: float, end: float, height: int) -> list[str]:
    parts = []
    for moment in ticks(start, end):
        x = _x(moment, start, end)
        parts.append(
            f'<line x1="{x:.1f}" y1="0" x2="{x:.1f}" y2="{height}"/><text class="soft" x="{x + 3:.1f}" y="{height + 14}">{moment - start:.0f} s</text>'
        )
    return parts


def _x(moment: float, start: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - 10) * (moment - start) / max(end - start, 1.0)


def gantt(bars: list[Document]) -> str:
    """The lanes of a release as SVG: its phases, then each host."""
    if not bars:
        return '<p class="soft">Nothing was timed.</p>'
    start, end = min(bar["from"] for bar in bars), max(bar["to"] for bar in bars)
    lanes = list(dict.fromkeys(bar["lane"] for bar in bars))
    height = ROW * len(lanes)
    parts = [f'<svg viewBox="0 0 {WIDTH} {height + 20}" role="img" aria-label="timeline">', *_axis(start, end, height)]
    parts += [f'<text x="0" y="{ROW * row + 17}">{escape(str(lane))}</text>' for row, lane in enumerate(lanes)]
    for bar in bars:
        x, y = _x(bar["from"], start, end), ROW * lanes.index(bar["lane"]) + 4
        width = max(_x(bar["to"], start, end) - x, 1.5)
        words = f"{bar['lane']}: {bar['what']}, {bar['to'] - bar['from']:.1f} s from {_clock(bar['from'])}"
        colour = COLOURS.get(str(bar["what"]), "#8c96a8")
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{ROW - 8}" rx="2" fill="{colour}"><title>{escape(words)}</title></rect>')
        if width > 7 * len(str(bar["what"])):
            parts.append(f'<text x="{x + 4:.1f}" y="{y + 13}">{escape(str(bar["what"]))}</text>')
    return "".join([*parts, "</svg>"])


def chart(figure: Document, marks: Iterable[float] = ()) -> str:
    """Lines over time as SVG; marks are moments at which something was done."""
    lines = {label: points for label, points in figure["lines"].items() if points}
    if not lines:
        return ""
    moments = [point[0] for points in lines.values() for point in points] + list(marks)
    start, end, height = min(moments), max(moments), 130
    top = max([point[1] for points in lines.values() for point in points] + [0]) or 1
    parts = [f'<svg viewBox="0 0 {WIDTH} {height + 20}" role="img" aria-label="{escape(figure["title"])}">', *_axis(start, end, height)]
    parts.append(f'<text x="0" y="12">{escape(figure["title"])}</text><text class="soft" x="0" y="28">up to {top:g} {escape(figure["unit"])}</text>')
    for mark in marks:
        parts.append(f'<line x1="{_x(mark, start, end):.1f}" y1="0" x2="{_x(mark, start, end):.1f}" y2="{height}" style="stroke:#d9a441;stroke-dasharray:3"/>')
    for number, (label, points) in enumerate(lines.items()):
        colour = SERIES[number % len(SERIES)]
        path = " ".join(f"{_x(moment, start, end):.1f},{height - (height - 10) * value / top:.1f}" for moment, value in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{point.split(",")[0]}" cy="{point.split(",")[1]}" r="2.5" fill="{colour}"/>' for point in path.split(" ")]
        parts.append(f'<text x="0" y="{48 + 16 * number}" style="fill:{colour}">{escape(str(label))}</text>')
    return "".join([*parts, "</svg>"])


def _table(rows: Iterable[tuple[str, Any]]) -> str:
    return (
        "<table>" + "".join(f"<tr><th>{escape(title)}</th><td>{escape(str(text))}</td></tr>" for title, text in rows if text not in (None, "", [])) + "</table>"
    )


def _hosts(hosts: Document) -> str:
    rows = [
        f"<tr><td>{escape(host)}</td><td>{escape(str(end.get('outcome')))}</td><td>{'' if end.get('seconds') is None else format(end['seconds'], 'g')}</td>"
        f"<td>{escape(', '.join(f'{step} {seconds:g}' for step, seconds in (end.get('steps') or {}).items()))}</td></tr>"
        for host, end in sorted((hosts or {}).items())
    ]
    return f"<table><tr><th>host</th><th>outcome</th><th>seconds</th><th>of these</th></tr>{''.join(rows)}</table>" if rows else ""


def bars_of(host: str, done: Document) -> list[Document]:
    """The bars of one host; done is step → {at (its end), seconds}. A start follows the drain; one that failed has no seconds."""
    bars = [{"lane": host, "what": step, "from": row["at"] - (row.get("seconds") or 0), "to": row["at"]} for step, row in done.items() if row.get("at")]
    edges = {bar["what"]: bar for bar in bars}
    if "start" in edges and "drain" in edges:
        edges["start"]["from"] = min(edges["drain"]["to"], edges["start"]["to"])
    return sorted(bars, key=lambda bar: bar["from"])


def shares_of(shifted: Document) -> list[Document]:
    """The bars of a shift: how much of the traffic the new colour had, and when."""
    steps = [one for one in shifted.get("steps") or [] if one.get("at")]
    return [{"lane": "traffic", "what": f"{one['share']} %", "from": one["at"], "to": one["at"] + (one.get("seconds") or 0)} for one in steps]


def by_release(groups: Mapping[str, str], record: Document, before: int | None) -> dict[str, str]:
    """The target groups of two colours by the releases that they serve, before that of the release before; of any other service as they are."""
    numbers = {name: record["number"] if name == record.get("colour") else before for name in groups} if record.get("colour") in groups else {}
    return {f"release {numbers[name]} ({name})" if numbers.get(name) else name: arn for name, arn in groups.items()}


def decisions(plan: Document, ends: dict[str, Document], shifted: Document) -> list[str]:
    """What was decided in the course of a release, as sentences."""
    record = plan["record"]
    told = []
    if record.get("lock_taken_from"):
        told.append(f"The lock was taken from {record['lock_taken_from'].get('owner')}: {record['lock_taken_from'].get('reason')}.")
    if plan.get("given_up"):
        told.append(f"Release {plan['given_up']}, which was begun and never ended, was given up.")
    told += [f"{host} was given up before its turn: {why}" for host, why in (plan.get("lost") or {}).items()]
    for number, batch in enumerate(plan.get("batches") or [], 1):
        touched = [host for host in batch if (ends.get(host) or {}).get("outcome")]
        told += [f"Batch {number}: {', '.join(touched)}."] if touched else []
        told += [f"{host} failed: {str(ends[host]['failure']).splitlines()[0]}" for host in batch if (ends.get(host) or {}).get("failure")]
    told += [f"{one.get('share')} % of the traffic for {one.get('seconds'):g} s." for one in shifted.get("steps") or []]
    if shifted.get("reason"):
        told.append(f"The traffic went back: {shifted['reason']}")
    back = [host for host, end in ends.items() if end.get("outcome") == "back"]
    out = [host for host, end in ends.items() if end.get("outcome") == "out"]
    told += [f"Back on the release before: {', '.join(sorted(back))}."] if back else []
    told += [f"Out of service: {', '.join(sorted(out))}."] if out else []
    return told


def render(story: Document) -> str:
    """The page."""
    record, outcome = story["record"], story["outcome"]
    title = f"{record.get('verb', 'deploy')} of {record['service']} to release {record['number']}: {outcome}"
    good = outcome in GOOD
    message = f'<pre class="{"good" if good else "bad"}">{escape(story.get("message") or "")}</pre>'
    facts: list[tuple[str, Any]] = [
        ("stack", f"{story.get('stack')} ({story.get('environment')})"),
        ("image", f"{record.get('tag')}  {record.get('digest')}"),
        ("revision", record.get("revision")),
        ("settings", record.get("configuration_checksum")),
        ("release before", record.get("previous")),
        ("who", record.get("who")),
        ("from where", record.get("where")),
        ("why", record.get("message")),
        ("began", record.get("when")),
        ("phases", ", ".join(f"{phase} {seconds:g} s" for phase, seconds in (story.get("phases") or {}).items())),
    ]
    bars = sorted(story.get("timeline") or [], key=lambda bar: (bar["lane"] != "release", bar["from"]))
    marks = [bar["from"] if bar["lane"] == "traffic" else bar["to"] for bar in bars if bar["lane"] == "traffic" or bar["what"] == "healthy"]
    charts = "".join(chart(figure, marks) for figure in story.get("figures") or [])
    decisions = "".join(f"<li>{escape(text)}</li>" for text in story.get("decisions") or [])
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>',
            f'<style>{STYLE}</style></head><body><h1 class="{"good" if good else "bad"}">{escape(title)}</h1>',
            message,
            f"<h2>What</h2>{_table(facts)}",
            f"<h2>Timeline</h2>{gantt(bars)}{_hosts(story.get('hosts') or {})}",
            f"<h2>Requests</h2>{charts}" if charts else "",
            f"<h2>Decisions</h2><ol>{decisions}</ol>" if decisions else "",
            f"<h2>Plan</h2><pre>{escape(story.get('plan') or '')}</pre>",
            "</body></html>",
        ]
    )
