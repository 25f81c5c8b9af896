"""Measure releases on a local cloud: deploy, one host at a time, nothing changed, rollback, with 2, 4 and 8 hosts, under load.

    python -m tests.bench [--hosts 2,4,8] [--strategies rolling,blue_green] [--repeats 3] [--rate 25] [--write]

The figures go to build/bench/results.json after each run; --write makes docs/performance.md, its chart and performance.json of them.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import platform
import shutil
import sys
import time
from typing import Any

from tests.bench import figures
from tests.e2e.system import HEALTHY_SECONDS, ROOT, System, say, wait_for

RESULTS = ROOT / "build" / "bench" / "results.json"
HALVES = {"batches": ["1", "50%"]}
SETTINGS: dict[str, dict[str, Any]] = {"deploy": HALVES, "one by one": {"batches": ["1"]}, "nothing changed": HALVES, "rollback": HALVES}


def stack_of(system: System, strategy: str, what: str) -> dict[str, Any]:
    """The stack with what this kind of run sets."""
    stack = copy.deepcopy(system.stack_facts())
    for service in stack["services"].values():
        service["strategy"] = strategy
        # All of the traffic at once: how long a share is watched is a setting, not speed.
        shift = {"weights": [100], "bake_seconds": 0} if strategy == "blue_green" else {}
        service["release"] = {**service.get("release", {}), **SETTINGS[what], **shift}
    return stack


def measured(system: System, strategy: str, what: str, hosts: int, rate: int, variables: dict[str, Any]) -> dict[str, Any]:
    """One command under load."""
    verb = "rollback" if what == "rollback" else "deploy"
    system.environment |= {"ANSIBLE_CALLBACKS_ENABLED": "ansible.posix.profile_tasks", "PROFILE_TASKS_TASK_OUTPUT_LIMIT": "all"}
    with system.load(f"bench-{strategy}-{what}-{hosts}".replace(" ", "-"), rate) as load:
        run = system.play(verb, flotilla_stack=stack_of(system, strategy, what), flotilla_fleets={"web": {"min": hosts, "max": hosts}}, **variables).succeeded()
    result = system.result()
    return {
        "strategy": strategy,
        "what": what,
        "hosts": hosts,
        "seconds": round(run.seconds, 1),
        "outcome": result["outcome"],
        "phases": result.get("phases") or {},
        "tasks": figures.tasks(run.output),
        "start_seconds": figures.starts(result["hosts"]),
        "overhead_percent": figures.overhead(result["hosts"], HEALTHY_SECONDS),
        "requests_sent": load["requests_sent"],
        "requests_failed": load["requests_failed"],
    }


def fleet(system: System, strategy: str, hosts: int, tags: list[str]) -> None:
    """So many hosts on the first release."""
    wanted = {"flotilla_fleets": {"web": {"min": hosts, "max": hosts}}, "flotilla_stack": stack_of(system, strategy, "deploy")}
    system.play("provision", **wanted).succeeded()
    if not tags:
        tags += [system.push("web", version) for version in ("v1", "v2")]
    wait_for("so many hosts", lambda: len(system.instances()) == hosts, 180)
    system.play("configure", **wanted).succeeded()
    system.play("deploy", release_tag=tags[0], **wanted).succeeded()
    system.healthy(hosts)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure releases on a local cloud.")
    parser.add_argument("--hosts", default="2,4,8", help="numbers of hosts (default 2,4,8)")
    parser.add_argument("--strategies", default="rolling,blue_green", help="strategies (default both)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each kind (default 3)")
    parser.add_argument("--rate", type=int, default=25, help="requests a second (default 25: eight hosts on two cores have no room for more)")
    parser.add_argument("--write", action="store_true", help="write docs/performance.md")
    options = parser.parse_args()
    system = System("bench")
    system.cloud("down")
    shutil.rmtree(system.build, ignore_errors=True)
    document: dict[str, Any] = {
        "when": time.strftime("%Y-%m-%d", time.gmtime()),
        "machine": f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "rate": options.rate,
        "floor": f"a good check, then healthy for {HEALTHY_SECONDS} s",
        "runs": [],
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    tags: list[str] = []
    try:
        system.cloud("up").succeeded()
        for strategy in options.strategies.split(","):
            for hosts in map(int, options.hosts.split(",")):
                fleet(system, strategy, hosts, tags)
                for _repeat in range(options.repeats):
                    kinds: list[tuple[str, int | None]] = [("deploy", 1), ("nothing changed", 1), ("rollback", None)]
                    for what, variables in [*kinds, ("one by one", 1), ("rollback", None)] if strategy == "rolling" else kinds:
                        given = {} if variables is None else {"release_tag": tags[variables]}
                        document["runs"].append(measured(system, strategy, what, hosts, options.rate, given))
                        RESULTS.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    finally:
        system.cloud("down")
    say("\n" + figures.table(document["runs"]))
    say(f"overhead of a host over its floor: {figures.beyond(document['runs'])}")
    if options.write:
        (ROOT / "docs" / "performance.json").write_text(json.dumps(figures.brief(document), indent=1) + "\n", encoding="utf-8")
        (ROOT / "docs" / "performance.md").write_text(figures.page(document), encoding="utf-8")
        (ROOT / "docs" / "performance.svg").write_text(figures.chart(document["runs"]), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
