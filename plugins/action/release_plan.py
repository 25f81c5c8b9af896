# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a release will do; documented in plugins/modules/release_plan.py."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws import listener
from ansible_collections.flotilla.ec2.plugins.module_utils.release import api, colours, history, lock, plan, processes, records, traffic
from ansible_collections.flotilla.ec2.plugins.module_utils.release.api import Document, ReleaseError
from ansible_collections.flotilla.ec2.plugins.module_utils.release.targets import NOT_REGISTERED, in_group
from ansible_collections.flotilla.ec2.plugins.modules.release_plan import DOCUMENTATION
from ansible_collections.flotilla.ec2.plugins.plugin_utils.release import ReleaseAction

SEEN = ("release", "digest", "running", "prepared", "current", "settled")  # of what service_info says
HOST_POINTS = ("before_host", "before_traffic", "after_traffic", "after_host")
EXPECTED_FROM = 6  # so many records tell how long a release is likely to take


def unfinished_release(s3: Any, bucket: str, service: str, kept: list[int], pointer: Document | None) -> Document | None:
    """The newest record when its release was begun and never ended, and is not what the pointer names."""
    if not kept or (pointer and int(pointer["number"]) >= kept[-1]):
        return None
    newest = records.load(s3, bucket, service, kept[-1])
    return newest if newest and newest.get("outcome") == "started" else None


def newest_records(s3: Any, bucket: str, service: str, kept: list[int]) -> list[Document]:
    """The records of the last releases, read side by side."""
    with ThreadPoolExecutor(EXPECTED_FROM) as pool:
        return [record for record in pool.map(lambda number: records.load(s3, bucket, service, number), kept[-EXPECTED_FROM:]) if record]


def image_to_deploy(region: str, repository: str, tag: str | None) -> Document:
    """The image of a tag: {digest, tag, pushed_at}. ReleaseError that lists the newest tags when there is none."""
    ecr = api.client("ecr", region)
    try:
        found = api.find_image(ecr, repository, tag) if tag else None
        newest = [] if found else api.newest_images(ecr, repository)
    except ecr.exceptions.RepositoryNotFoundException as error:
        raise ReleaseError(f"the registry has no repository {repository}. Fix: run provision.yml, then push the image.") from error
    except (api.botocore.exceptions.BotoCoreError, api.botocore.exceptions.ClientError) as error:
        raise ReleaseError(
            f"the registry cannot be asked for {repository}:{tag}: {error}. Nothing was changed. "
            "Fix: see that the registry can be reached from here, then run the same command again."
        ) from error
    if found is None:
        raise ReleaseError(plan.missing_tag(repository, tag, newest, lock.now()))
    by_digest = (tag or "").startswith("sha256:")
    return {"digest": found["digest"], "tag": (found["tags"] or [None])[0] if by_digest else tag, "pushed_at": found["pushed_at"]}


def plain(request: Document, release: Document, hooked: set[str]) -> bool:
    """Whether nothing comes between the steps of a batch: no pause, no steps of the user's own, no host that the release may do without."""
    return bool(request["target_group"]) and hooked.isdisjoint(HOST_POINTS) and not (release.get("max_failures") or release.get("pause_seconds"))


class ActionModule(ReleaseAction):
    """Stage request, then stage plan."""

    DOCUMENTATION = DOCUMENTATION

    def act(self, arguments: dict[str, Any], variables: dict[str, Any]) -> dict[str, Any]:
        if arguments["stage"] == "request":
            return {"changed": False, "request": self._request(arguments, variables)}
        return self._plan(arguments)

    def _request(self, arguments: dict[str, Any], variables: dict[str, Any]) -> Document:
        model = arguments["model"]
        region = model["environment"]["region"]
        service = plan.choose_service(model["services"], arguments["service"])
        name = service["name"]
        ssm, s3 = api.client("ssm", region), api.client("s3", region)
        outputs = api.read_outputs(ssm, model)
        pointer_name = records.pointer_name(model["parameter_root"], name)
        pointed = api.read_parameter(ssm, pointer_name)
        pointer = pointed[0] if pointed else None
        kept = records.numbers(api.list_keys(s3, outputs["bucket"], records.prefix(name)))
        unfinished = unfinished_release(s3, outputs["bucket"], name, kept, pointer)
        before = records.load(s3, outputs["bucket"], name, int(pointer["number"])) if pointer else None
        if arguments["verb"] in ("rollback", "restart"):
            if arguments["verb"] == "restart":
                number = plan.restart_number(pointer, unfinished, name)
            else:
                number = plan.rollback_number(pointer, unfinished, plan.asked_number(arguments["rollback_to"], kept, name), name)
            self._passable(s3, outputs["bucket"], name, number, pointer, kept, arguments)
            record = records.load_target(s3, outputs["bucket"], name, number, kept)
            to = {key: record.get(key) for key in ("number", "digest", "tag", "image", "configuration", "configuration_checksum", "revision", "previous")}
        else:
            # An image that is tagged with its source revision needs no other name.
            wanted = arguments["tag"] or arguments["revision"]
            to = {**image_to_deploy(region, service["image"], wanted), "number": None, "revision": arguments["revision"]}
            to["image"] = f"{outputs['registry']}/{service['image']}@{to['digest']}"
        hosts = plan.hosts_of(variables["groups"], model["stack"]["name"], service["fleet"])
        recent = newest_records(s3, outputs["bucket"], name, kept)
        # What came after the current release was not successful, or was gone back from.
        later = [one for one in kept[:-EXPECTED_FROM] if one > int((pointer or {}).get("number") or 0)]
        older = [records.load(s3, outputs["bucket"], name, one) or {} for one in later]
        return {
            "verb": arguments["verb"],
            "stack": model["stack"]["name"],
            "environment": model["environment"]["name"],
            "region": region,
            "service": service,
            "hosts": hosts,
            "strangers": plan.strangers(hosts, recent),
            "groups": [fleet["group"] for fleet in model["fleets"] if fleet["name"] == service["fleet"]],
            "outputs": outputs,
            "bucket": outputs["bucket"],
            "target_group": (outputs.get("target_groups") or {}).get(name),
            "pointer_name": pointer_name,
            "from": pointer,
            "unfinished": unfinished,
            "numbers": kept,
            "configuration_before": (before or {}).get("configuration"),
            "expected_seconds": history.expected(recent, arguments["verb"]),
            "finished_before": (before or {}).get("outcome") in (None, "succeeded"),
            "to": to,
            "message": arguments["message"] or "",
            "irreversible": arguments["irreversible"],
            "barring": None if arguments["past_irreversible"] else (plan.barring(pointer, [*older, *recent]) or {}).get("number"),
            "database": (model.get("database") or {}).get("identifier"),
        }

    @staticmethod
    def _passable(s3: Any, bucket: str, name: str, number: int, pointer: Document | None, kept: list[int], arguments: dict[str, Any]) -> None:
        """Refuse to go back past a migration that cannot be undone."""
        if arguments["past_irreversible"] or arguments["verb"] != "rollback" or number not in kept:
            return
        later = [records.load(s3, bucket, name, one) or {} for one in kept if one > number]
        if barred := plan.barrier(number, pointer, later, name):
            raise ReleaseError(barred)

    def _plan(self, arguments: dict[str, Any]) -> dict[str, Any]:
        request = arguments["request"]
        service, to = request["service"], request["to"]
        if request["verb"] == "deploy":
            to["configuration"] = records.configuration(service, arguments["environment"] or {}, request["outputs"])
            to["configuration_checksum"] = records.checksum(to["configuration"])
        name = self._colour(request) if service.get("colours") else service["name"]
        targets = api.target_health(api.client("elbv2", request["region"]), request["target_group"]) if request["target_group"] else {}
        seen = {}
        for host, row in (arguments["seen"] or {}).items():
            known = (row.get("services") or {}).get(name) or {}
            seen[host] = {**row, **{key: known.get(key) for key in SEEN}, "target": targets.get(host)}
        leaving = self._leaving(request, seen)
        made = plan.make(request, {host: row for host, row in seen.items() if host not in leaving}, arguments["min_healthy"])
        made.leaving = leaving
        if made.traffic and made.traffic["watched"] and (alarms := list(made.traffic["limits"]["alarms"] or [])):
            made.problems += traffic.alarm_problems(alarms, traffic.alarm_states(api.client("cloudwatch", request["region"]), alarms))
        text = plan.page(made, lock.now(), arguments["lock_note"])
        recreate = service.get("strategy") == "recreate"
        release = service.get("release") or {}
        # Of a service with two colours all hosts take part, if only to be looked at: the traffic is theirs together.
        rolling = [] if self.check or made.unchanged else [host for host in made.steps if host not in made.lost] if made.traffic else made.acting
        migration = None if made.problems else plan.migration_of(request, made.number, made.steps, made.acting)
        final = plan.irreversible(request, made.number, migration)
        noted = {"irreversible": final, "lock_taken_from": arguments["taken_from"]}
        hooked = set(arguments["hooks"])
        outcome: dict[str, Any] = {
            "changed": self.check and bool(made.batches or (made.traffic or {}).get("shares")),
            "diff": {
                "before": plan.masked(request["configuration_before"]) if request["configuration_before"] else "",
                "after": plan.masked(to["configuration"]),
                "before_header": f"release {(request['from'] or {}).get('number', 'none')}",
                "after_header": f"release {made.number}",
            },
            "plan": {
                "number": made.number,
                "steps": made.steps,
                "batches": made.batches,
                "sizes": [len(batch) for batch in made.batches] or [1],
                "acting": made.acting,
                "rolling": rolling,
                "batched": [] if made.traffic else rolling,
                "colouring": rolling if made.traffic else [],
                # A warm colour is not touched before the traffic goes over to it, but for the hosts' own steps.
                "starting": rolling if made.traffic and {"before_host", "before_traffic"} & hooked else made.starting if rolling else [],
                "idling": bool(rolling and made.traffic and (made.traffic["free"] or made.traffic["occupied"])),
                "hooked": sorted(hooked),
                # Nothing but out of service, onto the release, back into service.
                "plain": plain(request, release, hooked),
                "traffic": made.traffic,
                "instance": name,
                "port": made.traffic["ports"][made.traffic["colour"]] if made.traffic else to["configuration"].get("port"),
                # A plan looks at one host's files: they are the same on all.
                "preparing": [host for host in made.acting if made.steps[host] == "release"][: 1 if self.check else None],
                "lost": made.lost,
                "spared": [int(one) for one in ((request["from"] or {}).get("number"), (request["from"] or {}).get("previous")) if one],
                "max_failures": int(release.get("max_failures") or 0),
                "auto_revert": release.get("auto_revert", True),
                "pauses": plan.pauses(made.batches, int(release.get("pause_seconds") or 0)),
                "draining": {host: not recreate and in_group(seen[host]["target"] or NOT_REGISTERED) for host in made.acting},
                "recreate": recreate,
                "irreversible": final,
                "migration": migration,
                "migrating": [migration["host"]] if migration and not migration["done"] and not self.check else [],
                "unchanged": made.unchanged,
                "minimum": made.minimum if request["from"] else 0,
                "finish_record": made.unchanged and not request["finished_before"],
                "ways_back": plan.ways_back(made, {*made.acting, *rolling}, final),
                "text": text,
                "given_up": request["unfinished"]["number"] if request["unfinished"] and int(request["unfinished"]["number"]) != made.number else None,
                "record": self._record(request, made) | {key: value for key, value in noted.items() if value},
                "result": plan.result(made, "unchanged" if made.unchanged else "planned", text),
            },
        }
        if made.problems:
            outcome.update(failed=True, msg=f"{text}\n\nNothing was changed.")
        return outcome

    @staticmethod
    def _leaving(request: Document, seen: dict[str, Document]) -> dict[str, str]:
        """Host → why it leaves: it gets nothing, and is not put back into service."""
        doubtful = processes.doubtful(seen, bool(request["target_group"]))
        if not doubtful:
            return {}
        # EC2's part of botocore takes half a second to load: it is asked about those only that say nothing.
        silent = [host for host in doubtful if not seen[host]["reachable"]]
        states = api.instance_states(api.client("ec2", request["region"]), silent) if silent else {}
        states |= {host: "terminated" for host in silent if host not in states}
        scaling = api.scaling_states(api.client("autoscaling", request["region"]), doubtful)
        reasons = {host: processes.on_its_way_out(states.get(host, ""), scaling.get(host, ("", False))) for host in doubtful}
        return {host: reason for host, reason in reasons.items() if reason}

    @staticmethod
    def _colour(request: Document) -> str:
        """Note the weights as they are and the target group of the release's colour; the colour's name on the hosts."""
        service = request["service"]
        rule = (request["outputs"].get("rules") or {}).get(service["name"])
        if not rule:
            raise ReleaseError(f"{service['name']} has strategy: blue_green, and the load balancer has no rule for its colours yet. Fix: run provision.yml.")
        try:
            request["weights"] = listener.weights_of(listener.find_rule(api.client("elbv2", request["region"]), rule)["Actions"])
        except ValueError as error:
            raise ReleaseError(str(error)) from error
        instance = service["colours"][colours.target(request["verb"], plan.number_of(request), request["from"])]["instance"]
        request["target_group"] = request["outputs"]["target_groups"][instance]
        return str(instance)

    @staticmethod
    def _record(request: Document, made: plan.Plan) -> Document:
        """The record of this release as it is before its first host."""
        to, pointer = request["to"], request["from"]
        again = pointer and int(pointer["number"]) == made.number
        previous = to.get("previous") if request["verb"] == "rollback" else pointer["previous"] if again else (pointer or {}).get("number")
        return {
            "number": made.number,
            "service": request["service"]["name"],
            "verb": request["verb"],
            "digest": to["digest"],
            "tag": to.get("tag"),
            "image": to["image"],
            "configuration": to["configuration"],
            "configuration_checksum": to["configuration_checksum"],
            "revision": to.get("revision"),
            "previous": previous,
            "colour": made.traffic["colour"] if made.traffic else None,
            "who": lock.owner(),
            "where": lock.where(),
            "message": request.get("message") or "",
            "when": lock.now().isoformat(),
        }
