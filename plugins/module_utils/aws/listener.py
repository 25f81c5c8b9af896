# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Rules of an Application Load Balancer's listener, and the weights of those that forward to two target groups."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.flotilla.ec2.plugins.module_utils.aws.common import Step

Rule = Mapping[str, Any]
LAST = 50000  # the highest priority that a rule can have


def find_listener(elbv2: Any, balancer: str, port: int) -> str:
    """The ARN of the listener on a port; of one that does not exist yet, what the API refuses and a plan shows."""
    found: list[dict[str, Any]] = elbv2.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
    return next((str(one["ListenerArn"]) for one in found if one["Port"] == port), f"{balancer} has no listener on port {port}")


def rules_of(elbv2: Any, listener: str) -> list[dict[str, Any]]:
    """The rules of a listener, the default one left out."""
    if not listener.startswith("arn:") or " " in listener:
        return []
    pages = elbv2.get_paginator("describe_rules").paginate(ListenerArn=listener)
    return [rule for page in pages for rule in page["Rules"] if not rule["IsDefault"]]


def find_rule(elbv2: Any, rule: str) -> dict[str, Any]:
    """One rule by its ARN. ValueError when it does not exist."""
    try:
        found: dict[str, Any] = elbv2.describe_rules(RuleArns=[rule])["Rules"][0]
    except (elbv2.exceptions.RuleNotFoundException, IndexError) as error:
        raise ValueError(f"the listener's rule {rule} does not exist. Fix: run provision.yml") from error
    return found


def weights_of(actions: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Target group ARN → weight of the forward among the actions; a forward to one group gives it all (100)."""
    for action in actions:
        if action.get("Type") != "forward":
            continue
        groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
        if len(groups) > 1:
            return {one["TargetGroupArn"]: int(one.get("Weight", 1)) for one in groups}
        return {groups[0]["TargetGroupArn"] if groups else action["TargetGroupArn"]: 100}
    return {}


def forward(weights: Mapping[str, int]) -> list[dict[str, Any]]:
    """The actions that share requests out by weight."""
    if len(weights) == 1:
        return [{"Type": "forward", "TargetGroupArn": next(iter(weights))}]
    return [{"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in weights.items()]}}]


def conditions(hosts: Iterable[str], paths: Iterable[str]) -> list[dict[str, Any]]:
    """The conditions of a rule."""
    wanted = (("host-header", "HostHeaderConfig", list(hosts)), ("path-pattern", "PathPatternConfig", list(paths)))
    return [{"Field": field, key: {"Values": values}} for field, key, values in wanted if values]


def _told(rule: Rule) -> dict[str, list[str]]:
    """What a rule's conditions ask for, whichever of its two forms the API answers with."""
    found = {}
    for one in rule["Conditions"]:
        key = {"host-header": "HostHeaderConfig", "path-pattern": "PathPatternConfig"}.get(one["Field"], "")
        found[one["Field"]] = sorted((one.get(key) or {}).get("Values") or one.get("Values") or [])
    return found


def kept(rule: Rule, groups: list[str]) -> dict[str, int]:
    """The weights that a rule shall have: those that it has, if it forwards to these groups, else all to the first.

    ValueError when a group would be taken out of the rule that has traffic now.
    """
    now = weights_of(rule.get("Actions") or [])
    gone = {arn: weight for arn, weight in now.items() if arn not in groups and weight}
    if gone and len(now) > 1:
        raise ValueError(
            f"the target group {', '.join(gone)} serves {sum(gone.values())} of {sum(now.values())} and would lose its traffic. "
            "Fix: release once more with strategy: blue_green, so that the other colour serves, then change the strategy"
        )
    if set(now) == set(groups) and len(groups) > 1:
        return {arn: now[arn] for arn in groups}
    return {arn: 0 if position else 100 for position, arn in enumerate(groups)}


def steps(listener: str, current: Iterable[Rule], wanted: Iterable[Mapping[str, Any]]) -> list[Step]:
    """The calls that make a listener's rules what is wanted: [{priority, hosts, paths, target_groups}]; weights stay as they are."""
    now = {int(rule["Priority"]): rule for rule in current}
    wanted = list(wanted)
    found: list[Step] = []
    for priority, rule in now.items():
        if priority not in {one["priority"] for one in wanted}:
            kept(rule, [arn for arn, _weight in list(weights_of(rule["Actions"]).items())[:1]])
            found.append(("delete_rule", {"RuleArn": rule["RuleArn"]}))
    for one in sorted(wanted, key=lambda one: one["priority"]):
        asked = conditions(one.get("hosts") or [], one.get("paths") or [])
        known = now.get(one["priority"])
        if known is None:
            actions = forward(kept({}, one["target_groups"]))
            found.append(("create_rule", {"ListenerArn": listener, "Priority": one["priority"], "Conditions": asked, "Actions": actions}))
            continue
        weights = kept(known, one["target_groups"])
        changes: dict[str, Any] = {}
        if _told(known) != _told({"Conditions": asked}):
            changes["Conditions"] = asked
        if weights_of(known["Actions"]) != weights:
            changes["Actions"] = forward(weights)
        if changes:
            found.append(("modify_rule", {"RuleArn": known["RuleArn"], **changes}))
    return found


def shift(elbv2: Any, rule: str, weights: Mapping[str, int], *, check: bool = False) -> tuple[bool, dict[str, int]]:
    """Give the target groups of a rule these weights. (changed, weights before). ValueError when the rule forwards to others."""
    before = weights_of(find_rule(elbv2, rule)["Actions"])
    if set(before) != set(weights):
        raise ValueError(f"the rule {rule} forwards to {', '.join(before) or 'nothing'}, not to {', '.join(weights)}. Fix: run provision.yml")
    if sum(weights.values()) <= 0:
        raise ValueError("weights: all of them are 0, nobody would be served; give one of the target groups a weight")
    changed = before != dict(weights)
    if changed and not check:
        elbv2.modify_rule(RuleArn=rule, Actions=forward(weights))
    return changed, before
