# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What was released, taken back and refused, newest first, as rows and as one page of text. No input or output here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.release import records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document
from ansible_collections.flotilla.ec2.plugins.module_utils.release.plan import short

OWN = ("verb", "who", "where", "when", "message", "outcome", "reason", "hosts", "phases", "seconds", "ended", "lock_taken_from")


def events(kept: list[Document], refused: list[Document]) -> list[Document]:
    """Each release, each later return to it and each refusal as one row, newest first."""
    rows = []
    for record in kept:
        common = {name: record.get(name) for name in ("number", "tag", "digest", "revision", "configuration_checksum")}
        rows += [{**common, **{name: one.get(name) for name in OWN}} for one in (record, *record.get("later", []))]
    rows += [{"number": None, **one} for one in refused]
    return sorted(rows, key=lambda row: str(row.get("when") or ""), reverse=True)


def expected(kept: list[Document], verb: str) -> int | None:
    """Seconds that a release is likely to take: the median of the last five of its kind that succeeded."""
    took = [row["seconds"] for row in events(kept, []) if row["outcome"] == "succeeded" and row["verb"] == verb and row.get("seconds")][:5]
    return round(sorted(took)[len(took) // 2]) if took else None


def _host(name: str, end: Document) -> str:
    steps = " ".join(f"{step} {seconds:g}" for step, seconds in (end.get("steps") or {}).items())
    took = f" {end['seconds']:g} s" if end.get("seconds") is not None else ""
    return f"{name} {end.get('outcome')}{took}" + (f" ({steps})" if steps else "")


def _row(row: Document, current: int | None) -> list[str]:
    mark = "*" if row["number"] is not None and row["number"] == current and row["outcome"] == "succeeded" else " "
    number = row["number"] if row["number"] is not None else "-"
    took = f"{row['seconds']:.0f} s" if row.get("seconds") else ""
    when = str(row.get("when") or "")[:19].replace("T", " ")
    lines = [f"  {mark}{number:>4}  {when:<19}  {row.get('verb') or '':<9}{row.get('outcome') or '':<10} {took:>6}  {row.get('who') or ''}"]

    def more(text: str) -> None:
        lines.append(f"         {text}")

    what = [str(row.get("tag") or row.get("asked") or ""), short(row["digest"]) if row.get("digest") else ""]
    what += [
        f"revision {row['revision']}" if row.get("revision") else "",
        f"settings {row['configuration_checksum']}" if row.get("configuration_checksum") else "",
    ]
    if any(what):
        more("  ".join(text for text in what if text))
    if row.get("where"):
        more(f"from {row['where']}")
    if row.get("message"):
        more(f"because: {row['message']}")
    if row.get("phases"):
        more("phases: " + ", ".join(f"{phase} {seconds:g} s" for phase, seconds in row["phases"].items()))
    if row.get("hosts"):
        more("hosts: " + ", ".join(_host(name, end) for name, end in sorted(row["hosts"].items())))
    if row.get("reason"):
        first, *rest = str(row["reason"]).strip().splitlines()
        more(f"reason: {first[:300]}" + (" …" if rest or len(first) > 300 else ""))
    if row.get("lock_taken_from"):
        other = row["lock_taken_from"]
        more(f"took the lock from {other.get('owner')}: {other.get('reason')}")
    return lines


def page(stack: str, environment: str, services: dict[str, dict[str, Any]], limit: int, at: datetime) -> str:
    """All of it for a person. services: name → {pointer, events}."""
    lines = [f"{stack} ({environment})"]
    for name, service in services.items():
        pointer = service["pointer"]
        since = f"release {pointer['number']} since {records.age(pointer.get('when'), at)}" if pointer else "never released"
        lines += ["", f"  {name}: {since}", ""]
        for row in service["events"][:limit]:
            lines += _row(row, int(pointer["number"]) if pointer else None)
        if not service["events"]:
            lines.append("    nothing is recorded")
        elif len(service["events"]) > limit:
            lines.append(f"    {len(service['events']) - limit} older ones: -e release_history_limit=<number>")
    return "\n".join([*lines, "", "  * serves now. Back to one that succeeded: rollback.yml -e to=<number>"])
