# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""How far a release is, host by host: lines for a log, a table for a terminal. No input or output here."""

from __future__ import annotations

from dataclasses import dataclass, field

# Tasks that do nothing with a host that anybody waits for.
SILENT = ("set_fact", "fail", "include_tasks", "include_role", "import_role", "import_tasks", "meta", "assert", "debug")
CONTROL = "localhost"
NOTICEABLE_SECONDS = 1.0
LONGEST = 300


def step_of(task: str) -> str:
    """A task's name without its role and its file: C(flotilla.ec2.release : Roll | Drain) is C(Drain)."""
    return task.rpartition(" : ")[2].rpartition(" | ")[2].strip()


def silent(action: str) -> bool:
    return action.rpartition(".")[2] in SILENT


def brief(message: str) -> str:
    """The first line of a message, not too long."""
    first, *rest = str(message).strip().splitlines() or [""]
    return first[:LONGEST] + (" …" if rest or len(first) > LONGEST else "")


@dataclass
class Row:
    """What is done with one host now, or was done last."""

    step: str = ""
    since: float = 0.0
    health: str = ""
    state: str = "waits"  # or runs, done, failed, unreachable


@dataclass
class Board:
    """The hosts of a release."""

    rows: dict[str, Row] = field(default_factory=dict)
    began: float = 0.0

    def starts(self, host: str, step: str, at: float) -> None:
        row = self.rows.setdefault(host, Row())
        row.step, row.since, row.state = step, at, "runs"

    def ends(self, host: str, at: float, state: str = "done", health: str = "") -> float:
        """Note the end of what is done with a host; returns the seconds that it took."""
        row = self.rows.setdefault(host, Row(since=at))
        row.state, row.health = state, health or row.health
        return at - row.since

    def table(self, at: float, width: int = 120, height: int = 20) -> list[str]:
        """One line for each host that something is or was done with, those that run first when there are more than lines."""
        hosts = [host for host in self.rows if host != CONTROL] or list(self.rows)
        shown = sorted(hosts, key=lambda host: self.rows[host].state != "runs")[:height]
        lines = [f"{'host':<21}{'step':<44}{'elapsed':>8}  {'target':<12} {at - self.began:>6.0f} s in all"]
        for host in [host for host in hosts if host in shown]:
            row = self.rows[host]
            elapsed = f"{at - row.since:.0f} s" if row.state == "runs" else row.state
            lines.append(f"{host:<21}{row.step[:42]:<44}{elapsed:>8}  {row.health:<12}")
        if len(hosts) > len(shown):
            lines.append(f"… and {len(hosts) - len(shown)} more")
        return [line[: max(width - 1, 20)].rstrip() for line in lines]
