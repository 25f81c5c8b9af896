# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release will do, decided from what was asked, what is recorded and what was seen on the hosts. No input or output here.

The words used throughout: a *request* is what was asked for with what the registry and the records say of it; a *plan* is that plus the
hosts; a *seen* host is C({reachable, message, release, digest, running, prepared, current, settled, zone, target}).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from ansible_collections.flotilla.ec2.plugins.module_utils.release import colours, records
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import NOT_REGISTERED, in_group, sentence

Seen = dict[str, Document]


# ---- what was asked


def choose_service(services: list[Document], wanted: str | None) -> Document:
    """The service to release: the one named, or the only one."""
    names = [service["name"] for service in services]
    if wanted:
        for service in services:
            if service["name"] == wanted:
                return service
        raise ReleaseError(f"release_service: the stack has no service {wanted!r}; it has: {', '.join(names)}. Fix: -e release_service=<one of these>.")
    if len(services) != 1:
        raise ReleaseError(f"release_service: the stack has {len(services)} services ({', '.join(names)}). Fix: say which with -e release_service=<name>.")
    return services[0]


def group_name(kind: str, name: str) -> str:
    """The inventory group of a stack or fleet."""
    return f"{kind}_{name.replace('-', '_')}"


def hosts_of(groups: dict[str, list[str]], stack: str, fleet: str) -> list[str]:
    """The hosts of a fleet of this stack, sorted."""
    members = groups.get(group_name("stack", stack), [])
    return sorted(set(members) & set(groups.get(group_name("fleet", fleet), [])))


def strangers(hosts: list[str], recent: list[Document]) -> list[str]:
    """The hosts that none of the last releases knows: one of them that does not answer may be booting, any other is dead."""
    known = {host for record in recent for host in record.get("hosts") or {}}
    return [host for host in hosts if host not in known]


def missing_tag(repository: str, tag: str | None, newest: list[Document], at: datetime) -> str:
    """The refusal of a tag that is not there, with the tags that are."""
    rows = [f"  {', '.join(one['tags'])} (pushed {records.age(one['pushed_at'], at)} ago)" for one in newest[:10]]
    known = "\n".join(rows) if rows else "  none: nothing has been pushed yet"
    asked = f"the registry has no image {repository}:{tag}" if tag else "release_tag is missing: which image shall be released?"
    return f"{asked}. The newest tags of {repository}:\n{known}\nFix: push the image first, or say -e release_tag=<one of these>."


def asked_number(wanted: str | None, kept: list[int], service: str) -> int | None:
    """The release number that a person has written; None when nothing is."""
    text = str(wanted or "").strip()
    if text and not text.isdecimal():
        raise ReleaseError(f"{text!r} is no release number; {service} has: {', '.join(map(str, kept[-10:])) or 'none'}. Fix: -e to=<one of these>.")
    return int(text) if text else None


def rollback_number(pointer: Document | None, unfinished: Document | None, wanted: int | None, service: str) -> int:
    """Which release a rollback goes to: the one named; without one, the release that an unfinished one was to replace, or else the one before
    the current. Going back once more goes further back: the pointer's C(previous) is then that of the older release."""
    if wanted:
        return wanted
    if pointer is None:
        raise ReleaseError(f"{service} has no release to go back from: it has never been released. Fix: deploy.yml -e release_tag=<tag>.")
    if unfinished is not None:
        return int(pointer["number"])
    if not pointer.get("previous"):
        raise ReleaseError(f"{service} has no release before {pointer['number']}, which runs now. Fix: -e to=<number>, or deploy.yml -e release_tag=<tag>.")
    return int(pointer["previous"])


def restart_number(pointer: Document | None, unfinished: Document | None, service: str) -> int:
    """The release that a restart is for: the one that the pointer names."""
    if pointer is None:
        raise ReleaseError(f"{service} has never been released, there is nothing to restart. Fix: deploy.yml -e release_tag=<tag>.")
    if unfinished is not None:
        raise ReleaseError(
            f"release {unfinished['number']} of {service} ({unfinished.get('tag')}) was begun and never ended. Fix: give its command again, "
            "or go back with rollback.yml; then restart."
        )
    return int(pointer["number"])


def number_for(digest: str, checksum: str, pointer: Document | None, unfinished: Document | None, kept: list[int]) -> int:
    """The number of the release that is asked for: the current one's or the unfinished one's when it is the very same, else a new one."""
    for known in (pointer, unfinished):
        if known and known.get("digest") == digest and known.get("configuration_checksum") == checksum:
            return int(known["number"])
    return max([0, *kept, int((pointer or {}).get("number") or 0), int((unfinished or {}).get("number") or 0)]) + 1


# ---- what is to be done


def on_release(host: Document, number: int, digest: str) -> bool:
    """Whether the host runs this release now, and would start it again: a run that was killed may have changed the one and not the other."""
    runs = bool(host.get("running")) and host.get("release") == number and host.get("digest") in (None, "", digest)
    return runs and host.get("current") in (None, number)


def step_of(host: Document, number: int, digest: str, balanced: bool) -> str:
    """C(release) (drain, activate, register), C(register) only, or C(nothing)."""
    if not on_release(host, number, digest):
        return "release"
    if not balanced:
        return "nothing"
    target = host.get("target") or NOT_REGISTERED
    if target["state"] == "healthy":
        return "nothing"
    if target["state"] in ("draining", "initial") or not in_group(target):
        return "register"
    return "release"


def share(size: int | str, total: int) -> int:
    """A batch size as a number of hosts: a count, or a percentage of all hosts (rounded down, at least one)."""
    text = str(size).strip()
    count = total * int(text[:-1]) // 100 if text.endswith("%") else int(text)
    return max(1, min(count, max(total, 1)))


def divide(
    steps: dict[str, str], serving: set[str], sizes: list[int | str], canary: int | str | None, minimum: int, at_once: bool
) -> tuple[list[list[str]], list[str]]:
    """The batches, in order, and the hosts that cannot be taken out without falling below the minimum.

    First those that only need to be registered, then those that serve nothing now, then the others; the canary batch is the first that takes a
    new release. No batch takes so many hosts out that fewer than minimum of all would serve. The last size goes for all that follow.
    """
    total = len(steps)
    registered = sorted(host for host, step in steps.items() if step == "register")
    waiting = sorted((host for host, step in steps.items() if step == "release"), key=lambda host: (host in serving, host))
    batches = [registered] if registered else []
    up = serving | set(registered)
    if at_once:
        return [*batches, waiting] if waiting else batches, []
    planned: list[int | str] = list(sizes) if not canary or share(sizes[0], total) == share(canary, total) else [canary, *sizes]
    position = 0
    while waiting:
        wanted = share(planned[min(position, len(planned) - 1)], total)
        batch: list[str] = []
        for host in waiting:
            left = len(up - set(batch) - {host})
            if len(batch) == wanted or (host in up and left < minimum):
                break
            batch.append(host)
        if not batch:
            return batches, waiting
        batches.append(batch)
        up |= set(batch)
        waiting = waiting[len(batch) :]
        position += 1
    return batches, []


def way_back(host: Document, number: int, pointer: Document | None) -> Document:
    """What to do with a host when its release fails: C(activate) an older release that lies ready on it, C(stop) the service, or C(leave) it."""
    prepared = {int(one) for one in host.get("prepared") or []}
    for candidate in ((pointer or {}).get("number"), host.get("release") if host.get("running") else None):
        if candidate and int(candidate) != number and int(candidate) in prepared:
            return {"action": "activate", "number": int(candidate)}
    if pointer and int(pointer["number"]) == number:
        return {"action": "leave", "number": None}
    return {"action": "stop", "number": None}


# ---- what differs


def differences(before: Document, after: Document) -> dict[str, list[str]]:
    """Names of environment keys added, removed and changed, and of other settings that differ; no values."""
    old, new = before.get("environment") or {}, after.get("environment") or {}
    return {
        "added": sorted(set(new) - set(old)),
        "removed": sorted(set(old) - set(new)),
        "changed": sorted(name for name in set(old) & set(new) if str(old[name]) != str(new[name])),
        "settings": sorted(name for name in records.CONFIGURATION_KEYS if name != "environment" and (before.get(name) or None) != (after.get(name) or None)),
    }


def masked(configured: Document) -> str:
    """A configuration as diff text: every key, environment values and secrets hidden."""
    rows = [f"{name}: {configured[name]}" for name in records.CONFIGURATION_KEYS if name not in ("environment", "secrets") and name in configured]
    rows += [f"environment {name}: ********" for name in sorted(configured.get("environment") or {})]
    rows += [f"secret {name}: from {(where or {}).get('secret')}" for name, where in sorted((configured.get("secrets") or {}).items())]
    return "\n".join(rows) + "\n"


# ---- the whole


def migration_of(request: Document, number: int, steps: dict[str, str], acting: list[str]) -> Document | None:
    """The migration of a release: C({host, command, timeout_seconds, done}), or None when it has none or begins no new release.

    A release that was begun and whose migration is on record as succeeded is C(done). One that was cut off is run again, on the host where it
    was begun if that still is possible: it may even run there now.
    """
    wanted, pointer = request["to"]["configuration"].get("migration"), request["from"]
    if not wanted or request["verb"] != "deploy" or (pointer and int(pointer["number"]) == number):
        return None
    unfinished = request["unfinished"] or {}
    noted = (unfinished.get("migration") or {}) if int(unfinished.get("number") or 0) == number else {}
    able = [host for host in acting if steps[host] == "release"]
    if not able:
        return None
    host = noted["host"] if noted.get("host") in able else able[0]
    return {"host": host, "command": wanted["command"], "timeout_seconds": wanted["timeout_seconds"], "done": noted.get("outcome") == "succeeded"}


def irreversible(request: Document, number: int, migration: Document | None) -> Document:
    """What makes going back past this release impossible: C({snapshot}), the name of the database's snapshot or None; {} of any other release."""
    unfinished = request["unfinished"] or {}
    known = (unfinished.get("irreversible") or {}) if int(unfinished.get("number") or 0) == number else {}
    if known or not (request.get("irreversible") and migration):
        return dict(known)
    database = request.get("database")
    return {"snapshot": f"{database}-release-{number}" if database else None}


def barring(pointer: Document | None, kept: list[Document]) -> Document | None:
    """The newest of some records whose migration has run and cannot be undone: nobody goes back to a release before it. None for none.

    What succeeded after the current release was gone back from already, so that it bars nothing; what failed there has left its migration.
    """
    current = int((pointer or {}).get("number") or 0)
    found = None
    for record in sorted(kept, key=lambda one: int(one.get("number") or 0)):
        done = (record.get("migration") or {}).get("outcome") in ("started", "succeeded")
        passed = int(record.get("number") or 0) > current and record.get("outcome") == "succeeded"
        found = record if record.get("irreversible") and done and not passed else found
    return found


def barrier(target: int, pointer: Document | None, kept: list[Document], service: str) -> str:
    """Why nobody may go back to a release, or an empty text: a migration after it cannot be undone."""
    record = barring(pointer, [one for one in kept if int(one.get("number") or 0) > target])
    if record is None:
        return ""
    snapshot = record["irreversible"].get("snapshot")
    restore = f"restore the snapshot {snapshot} (docs/operations.md, Migrations)" if snapshot else "restore the data as they were before it"
    return (
        f"release {record['number']} of {service} has run a migration that cannot be undone; release {target} does not know the database as it is "
        f"since. Way out: deploy.yml with a release that does; or {restore}, then the same command with -e release_past_irreversible=true."
    )


BARRED: Document = {"action": "barred", "number": None}


def ways_back(plan: Plan, hosts: set[str], final: Document) -> dict[str, Document]:
    """Host → way_back. C(barred) where the release itself has a migration that cannot be undone, or an earlier one that never came into service has run
    one: what is older does not know the database as it is since."""
    request = plan.request
    ways = {host: dict(BARRED) if final else way_back(plan.seen[host], plan.number, request["from"]) for host in hosts}
    first = int(request.get("barring") or 0)
    return {host: dict(BARRED) if way["number"] and int(way["number"]) < first else way for host, way in ways.items()}


@dataclass
class Plan:
    """A request with its hosts: what is done where, and why it must not be done if there are problems."""

    request: Document
    seen: Seen
    number: int = 0
    steps: dict[str, str] = field(default_factory=dict)
    batches: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    minimum: int = 0
    lost: dict[str, str] = field(default_factory=dict)  # host → why it does not answer, of those that max_failures lets the release do without
    traffic: Document | None = None  # of a service with two colours
    leaving: dict[str, str] = field(default_factory=dict)  # host → why it is left out, of those on their way out; seen has none of them

    @property
    def unchanged(self) -> bool:
        """Every host is on the release that the pointer names, and in service."""
        pointer = self.request["from"]
        if self.traffic and self.traffic["shares"]:
            return False
        return not self.problems and bool(pointer) and int(pointer["number"]) == self.number and all(step == "nothing" for step in self.steps.values())

    @property
    def starting(self) -> list[str]:
        """Of a service with two colours, the hosts on which the colour is started, or was not left as a warm one is."""
        return [host for host, step in self.steps.items() if step == "release" or not self.seen[host].get("settled")] if self.traffic else []

    @property
    def acting(self) -> list[str]:
        """The hosts that something is done with, in order."""
        return [host for batch in self.batches for host in batch]


def number_of(request: Document) -> int:
    """The number of the release that a request is for."""
    to = request["to"]
    return int(to.get("number") or number_for(to["digest"], to["configuration_checksum"], request["from"], request["unfinished"], request["numbers"]))


def make(request: Document, seen: Seen, minimum: int | None = None) -> Plan:
    """The plan of a request. minimum overrides the service's own min_healthy. Of a service with two colours, seen is what the release's colour does."""
    service, to, pointer = request["service"], request["to"], request["from"]
    plan = Plan(request, seen)
    release = service.get("release") or {}
    plan.number = number_of(request)
    coloured = bool(service.get("colours"))
    # Nothing leaves service where the other colour serves, or where an outage is declared.
    plan.minimum = 0 if coloured or service.get("strategy") == "recreate" else int(release.get("min_healthy", 1)) if minimum is None else minimum
    if not seen:
        plan.problems.append(
            f"fleet {service['fleet']} has no running host. Fix: run provision.yml and configure.yml, or look at the Auto Scaling group's activities."
        )
    silent = sorted(name for name, row in seen.items() if not row["reachable"])
    if not coloured and len(silent) <= int(release.get("max_failures") or 0) and len(silent) < len(seen):
        plan.lost = {host: seen[host].get("message") or "no reason known" for host in silent}
    plan.problems += [unanswered(host, seen[host]) for host in silent if not plan.lost]
    if not coloured and colours.live(pointer) != colours.COLOURS[0]:
        plan.problems.append(
            f"release {(pointer or {}).get('number')} serves on its {colours.live(pointer)} colour, and strategy is {service.get('strategy')}. "
            "Fix: release once more with strategy: blue_green, so that blue serves, then change the strategy and run provision.yml."
        )
    balanced = bool(request["target_group"])
    plan.steps = {host: step_of(row, plan.number, to["digest"], balanced) for host, row in sorted(seen.items())}
    if request["verb"] == "restart" and not coloured:
        plan.steps = dict.fromkeys(plan.steps, "release")
    plan.steps |= dict.fromkeys(plan.lost, "lost")
    if coloured:
        plan.traffic = colours.traffic(request, plan.number, request["weights"], plan.steps)
    serving = {host for host, row in seen.items() if (row.get("target") or {}).get("state") == "healthy"} if balanced else {
        host for host, row in seen.items() if row.get("running")
    }  # fmt: skip
    serving -= set(plan.lost)
    first = pointer is None and not serving
    if plan.problems:
        return plan
    new = any(step == "release" for step in plan.steps.values())
    if not first and new and len(serving) < plan.minimum:
        states = ", ".join(f"{host} {sentence(row.get('target') or NOT_REGISTERED)}" for host, row in sorted(seen.items()) if host not in serving)
        plan.problems.append(
            f"only {len(serving)} of {len(seen)} hosts are healthy, {plan.minimum} must stay in service: {states}. "
            "Fix: mend them first (status.yml shows why), or release in spite of it with -e release_min_healthy=0."
        )
        return plan
    pointed = bool(pointer) and int(pointer["number"]) == plan.number
    if request.get("irreversible") and not pointed and not ((to["configuration"] or {}).get("migration") and request["verb"] == "deploy"):
        plan.problems.append("release_irreversible: this release runs no migration. Fix: leave it out, or give the service a migration.")
    if coloured and request.get("irreversible") and not pointed:
        plan.problems.append(
            "release_irreversible: with two colours the traffic goes back by itself to the old one, which would not know the database after the migration. "
            "Fix: release it with strategy: rolling, or make the migration in steps that both releases know."
        )
    at_once = first or coloured
    divided = divide(plan.steps, serving, list(release.get("batches") or [1]), release.get("canary"), 0 if first else plan.minimum, at_once)
    plan.batches, stuck = divided
    if stuck:
        plan.problems.append(
            f"taking {', '.join(stuck)} out of service would leave fewer than min_healthy = {plan.minimum} of {len(seen)} hosts. "
            "Fix: add a host (fleets.<name>.min), or accept the gap with -e release_min_healthy=0."
        )
    if plan.lost and plan.batches:
        plan.batches.insert(0, sorted(plan.lost))
    elif plan.lost:
        plan.problems += [unanswered(host, seen[host]) for host in silent]
    return plan


def unanswered(host: str, row: Document) -> str:
    """The refusal of a host that does not answer."""
    return (
        f"{host} does not answer: {row.get('message') or 'no reason known'}. Fix: mend it, or end the instance "
        f"(aws ec2 terminate-instances --instance-ids {host}) so that the Auto Scaling group replaces it, then run configure.yml and this again."
    )


def pauses(batches: list[list[str]], seconds: int) -> dict[str, int]:
    """Host → how long it is watched before the next batch begins; the last batch is followed by none."""
    return {host: seconds if number < len(batches) else 0 for number, batch in enumerate(batches, 1) for host in batch}


def short(digest: str | None) -> str:
    """The first 12 digits of a digest."""
    return (digest or "").removeprefix("sha256:")[:12] or "nothing"


TITLES = {"deploy": "Release", "rollback": "Rollback", "restart": "Restart"}


def page(plan: Plan, at: datetime, lock_note: str | None = None) -> str:
    """The plan as people read it: one page of text."""
    request = plan.request
    service, to, pointer = request["service"], request["to"], request["from"]
    name = service["name"]
    was = "nothing (first release)"
    if pointer:
        since = f", since {records.age(pointer['when'], at)}" if pointer.get("when") else ""
        revision = f", revision {pointer['revision']}" if pointer.get("revision") else ""
        was = f"release {pointer['number']}, {pointer.get('tag')} {short(pointer.get('digest'))}{since}{revision}"
    lines = [f"{TITLES[request['verb']]} of {name} in {request['stack']} ({request['environment']})", ""]

    def row(title: str, text: str) -> None:
        lines.append(f"  {title:<14}{text}")

    row("from", was)
    pushed = f", pushed {records.age(to.get('pushed_at'), at)} ago" if to.get("pushed_at") else ""
    row("to", f"release {plan.number}, {to.get('tag')} {short(to['digest'])}{pushed}" + (f", revision {to['revision']}" if to.get("revision") else ""))
    if request["unfinished"]:
        one = request["unfinished"]
        fate = "is finished by this run" if int(one["number"]) == plan.number else "is given up"
        row("unfinished", f"release {one['number']} ({one.get('tag')}) of {one.get('who')}, begun {one.get('when')}, {fate}")
    different = differences(request.get("configuration_before") or {}, to["configuration"])
    if pointer and not any(different.values()):
        row("settings", "unchanged")
    for sign, kind in (("+", "added"), ("-", "removed"), ("~", "changed")):
        for key in different[kind]:
            row("environment", f"{sign} {key}" + ("  ********" if kind != "removed" else ""))
    if pointer:
        for key in different["settings"]:
            old, new = (request.get("configuration_before") or {}).get(key), to["configuration"].get(key)
            row("settings", f"~ {key}" + ("" if key == "secrets" else f"  {old} → {new}"))
    for index, batch in enumerate(plan.batches, 1):
        for host in batch:
            seen = plan.seen[host]
            had = f"release {seen['release']}" if seen.get("release") and not plan.traffic else "no release" if not plan.traffic else plan.traffic["colour"]
            again = request["verb"] == "restart" and seen.get("release") == plan.number
            does = {
                "lost": f"does not answer; taken out of service, as max_failures = {(service.get('release') or {}).get('max_failures')} allows",
                "release": f"{had} again" if again else f"{had} → {plan.number}",
                "register": f"back into service on release {plan.number}",
            }[plan.steps[host]]
            row(f"batch {index}" if not plan.traffic else "all at once", f"{host}  {seen.get('zone') or ''}  {does}")
    for host, step in plan.steps.items():
        if step == "nothing":
            how = f"warm on {plan.traffic['colour']}" if plan.traffic and plan.traffic["shares"] else "in service"
            row("stays", f"{host}  {plan.seen[host].get('zone') or ''}  release {plan.seen[host].get('release')}, {how}")
    for host, reason in sorted(plan.leaving.items()):
        row("leaves", f"{host}  {reason}")
    migration = migration_of(request, plan.number, plan.steps, plan.acting)
    if migration:
        how = "has been run already" if migration["done"] else f"runs once on {migration['host']}, before any host leaves service"
        row("migration", f"{' '.join(migration['command'])}  {how}")
    if final := irreversible(request, plan.number, migration):
        saved = f"before it, the database's snapshot {final['snapshot']}" if final["snapshot"] else "no database, no snapshot"
        row("no way back", f"the migration cannot be undone; {saved}")
    if plan.batches and service.get("strategy") == "recreate":
        row("outage", f"{name} stops, then starts: away for that time, at most {release_deadline(service)} s and its grace of {service.get('grace_seconds')} s")
    elif plan.traffic:
        for title, text in colours.rows(plan.traffic):
            row(title, text)
    elif plan.batches and pointer:
        row("in service", f"never fewer than {plan.minimum} of {len(plan.seen)}")
    row_failure(row, service, plan, bool(final))
    if request.get("expected_seconds") and plan.batches:
        row("expected", f"about {request['expected_seconds']} s, as the last ones took")
    if lock_note:
        row("lock", lock_note)
    if plan.problems:
        lines += ["", "  refused, because:", *[f"  - {problem}" for problem in plan.problems]]
    elif plan.unchanged:
        lines += ["", f"  Nothing to do: every host runs release {plan.number} and is in service."]
    return "\n".join(lines)


def row_failure(row: Callable[[str, str], None], service: Document, plan: Plan, final: bool) -> None:
    """What happens between the batches, and when a host fails. final: the release's migration cannot be undone."""
    release = service.get("release") or {}
    if release.get("pause_seconds") and len(plan.batches) > 1:
        row("pause", f"{release['pause_seconds']} s between two batches, watched")
    if plan.batches and plan.request["from"] and service.get("strategy") != "recreate" and not plan.traffic:
        allowed = int(release.get("max_failures") or 0)
        back = "every host goes back" if release.get("auto_revert", True) else "that host goes back, those that have the release keep it (auto_revert is off)"
        if any(way["action"] == "barred" for way in ways_back(plan, set(plan.acting) - set(plan.lost), {"snapshot": None} if final else {}).values()):
            since = "its migration" if final else f"the migration of release {plan.request['barring']}"
            back = f"that host stays out of service, those that have the release keep it: nothing older knows the database after {since}"
        row("on failure", (f"goes on without up to {allowed}; with one more " if allowed else "") + back)


def release_deadline(service: Document) -> int:
    """Time within which a release must be healthy on a host, in seconds."""
    return int((service.get("release") or {}).get("healthy_deadline_seconds") or 120)


def result(plan: Plan, outcome: str, message: str) -> Document:
    """The result file of a run; the end of a release overwrites outcome, hosts, seconds and message."""
    return {
        "outcome": outcome,
        "service": plan.request["service"]["name"],
        "from": (plan.request["from"] or {}).get("number"),
        "to": plan.number,
        "tag": plan.request["to"].get("tag"),
        "digest": plan.request["to"].get("digest"),
        "hosts": {},
        "seconds": 0,
        "message": message,
    }
