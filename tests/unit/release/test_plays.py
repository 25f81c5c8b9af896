"""The plays of a release from its first batch on, run by ansible on three hosts whose modules only note what they are told: who leaves service, who
goes back, and what is said in the end."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
HOSTS = ["i-1", "i-2", "i-3"]
BARRED = {host: {"action": "barred", "number": None} for host in HOSTS}
REPLACED = ("target", "service_release", "service_info", "release_record", "autoscaling_processes", "deploy_lock", "release_newcomers", "traffic_shift")
STUB = """
import json, time
from ansible.errors import AnsibleConnectionFailure
from ansible.plugins.action import ActionBase

class ActionModule(ActionBase):
    _requires_connection = False

    def run(self, tmp=None, task_vars=None):
        super().run(tmp, task_vars)
        name, told, host = "NAME", dict(self._task.args), task_vars["inventory_hostname"]
        with open(task_vars["fake_calls"], "a") as file:
            result = {**(told.get("result") or {}), **(told.get("verdict") or {}).get("result", {})}
            state = "refused" if told.get("refused") else told.get("state") or "present"
            file.write(json.dumps([host, name, state, told.get("release"), result]) + "\\n")
        if name in ("service_release", "service_info") and host in task_vars["fake_gone"]:
            raise AnsibleConnectionFailure("timed out")
        if name == "target" and told.get("postpone") and host in task_vars["fake_short"] and len(told["together"]) > 1:
            return {"changed": False, "postponed": True, "at": time.time()}
        if name == "target" and told.get("refused"):
            return {"failed": True, "msg": told["refused"]}
        if name == "target" and "lock" in told and host in task_vars["fake_lost"].get(told.get("state") or "present", []):
            return {"failed": True, "msg": "the release lock was taken by another release", "left_alone": True, "lock_lost": True}
        if name == "service_release" and host in task_vars["fake_bad"] and told.get("release") == 2:
            return {"failed": True, "msg": "release 2 did not start", "changed": True}
        if name == "service_release" and host in task_vars["fake_ended"]:
            raise AnsibleConnectionFailure("timed out")
        if name == "release_newcomers":
            return {"changed": False, "hosts": [], "gone": [one for one in told["known"] if one in task_vars["fake_ended"]]}
        shift = {"outcome": "failed", "reason": ""} if told.get("failures") else {"outcome": "shifted", "steps": [{"share": 100, "seconds": 1.0}]}
        services = {told.get("name") or "web": {"release": 2}}
        found = {"shift": shift, "health": {"state": "healthy"}, "services": services, "hosts": [], "result": result}
        found["record"] = {"outcome": result.get("outcome")}
        return {"changed": True, "at": time.time(), "seconds": 0.1, **found}
"""


def plays(hooks: dict[str, str], **more: Any) -> list[dict[str, Any]]:
    """The plays from the first batch on, behind one that sets what those before them have found out."""
    written = yaml.safe_load((ROOT / "playbooks/plays/rolling.yml").read_text(encoding="utf-8"))
    first = next(number for number, play in enumerate(written) if play["name"].startswith("Roll, "))
    if more.get("traffic"):
        written[first:first] = yaml.safe_load((ROOT / "playbooks/plays/blue_green.yml").read_text(encoding="utf-8"))
    lost = more.get("lost") or {}
    live = [host for host in HOSTS if host not in lost]
    batches = [*([sorted(lost)] if lost else []), live[:1], live[1:]]
    rolling = [host for batch in batches for host in batch]
    plan = {
        "starting": [], "idling": False, "plain": not hooks and not more.get("max_failures"), "hooked": sorted(hooks),
        "number": 2, "steps": {host: "lost" if host in lost else "release" for host in HOSTS}, "batches": batches, "sizes": [len(batch) for batch in batches],
        "rolling": rolling, "batched": rolling, "colouring": [], "traffic": None, "instance": "web", "port": 80, "lost": lost, "max_failures": 0,
        "auto_revert": True, "pauses": dict.fromkeys(HOSTS, 0), "draining": dict.fromkeys(HOSTS, True), "recreate": False, "irreversible": {}, "minimum": 1,
        "migrating": [], "text": "the plan", "given_up": None, "ways_back": {host: {"action": "activate", "number": 1} for host in HOSTS},
        "record": {"number": 2, "service": "web", "configuration": {"health_path": "/", "port": 80}}, "result": {"service": "web", "tag": "v2", "from": 1},
    } | more  # fmt: skip
    service = {"name": "web", "port": 80, "instances": ["web"], "release": {"min_healthy_seconds": 0}, "drain_seconds": 5}
    request = {
        "service": service, "from": {"number": 1}, "target_group": "arn", "bucket": "b", "groups": ["g"], "hosts": HOSTS, "stack": "s", "environment": "e",
        "pointer_name": "p",
    }  # fmt: skip
    model = {"environment": {"region": "r", "name": "e"}, "stack": {"name": "s"}, "parameter_root": "/flotilla/e/s", "releases": {"keep": 3}, "notices": {}}
    held = {"at": 0.5, "lock": {"token": "t"}}
    facts = {"__release_asked": {"request": request}, "__release_made": {"plan": plan, "at": 2.0}, "__release_held": held, "__release_started": {"at": 3.0}}
    setting = [{"ansible.builtin.set_fact": facts}, {"ansible.builtin.set_fact": {"flotilla": {**model, "services": [service]}, "cacheable": True}}]
    known = {"name": "Know", "hosts": "localhost", "gather_facts": False, "tasks": setting}
    ready = {"name": "Prepare", "hosts": ",".join(live), "gather_facts": False, "tasks": [{"ansible.builtin.set_fact": {"__release_laid": {"changed": True}}}]}
    return [known, ready, *({key: value for key, value in play.items() if key != "become"} for play in written[first:])]


def released(
    directory: Path,
    bad: list[str],
    gone: list[str],
    hooks: dict[str, str] | None = None,
    robbed: dict[str, list[str]] | None = None,
    ended: list[str] | None = None,
    short: list[str] | None = None,
    **more: Any,
) -> tuple[list[tuple[str, str, str, int | None]], dict[str, Any]]:
    """(what was done with hosts, the result) of a release on hosts of which some fail and some have ceased to answer."""
    collection = directory / "ansible_collections" / "flotilla" / "ec2"
    for part in ("plugins", "roles", "meta"):
        shutil.copytree(ROOT / part, collection / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "galaxy.yml", collection)
    for name in REPLACED:
        (collection / "plugins" / "action" / f"{name}.py").write_text(STUB.replace("NAME", name))
    (directory / "play.yml").write_text(yaml.safe_dump(plays(hooks or {}, **more), sort_keys=False))
    (directory / "hosts").write_text(
        f"[all:vars]\nansible_connection=local\nansible_python_interpreter={sys.executable}\n[all]\nlocalhost\n" + "\n".join(HOSTS)
    )
    (directory / "ansible.cfg").write_text("[defaults]\ninject_facts_as_vars = false\n")
    (directory / "web").mkdir()
    variables = {
        "fake_calls": str(directory / "calls"),
        "fake_bad": bad,
        "fake_gone": gone,
        "fake_lost": robbed or {},
        "fake_ended": ended or [],
        "fake_short": short or [],
        "release_verb": "deploy",
        "release_hooks": hooks or {},
    }
    command = [str(Path(sys.executable).parent / "ansible-playbook"), "-i", "hosts", "play.yml", "-e", json.dumps(variables)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    environment = {
        **kept,
        "ANSIBLE_CONFIG": str(directory / "ansible.cfg"),
        "ANSIBLE_COLLECTIONS_PATH": str(directory),
        "ANSIBLE_HOME": str(directory / "home"),
    }
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    assert (directory / "calls").is_file(), done.stdout + done.stderr
    calls = [json.loads(line) for line in (directory / "calls").read_text().splitlines()]
    results = [call[4] for call in calls if call[1] == "release_record"]
    assert len(results) == 1, done.stdout + done.stderr
    assert (done.returncode == 0) == (results[0]["outcome"] == "succeeded"), done.stdout
    return [(host, name, state, release) for host, name, state, release, _result in calls if name in ("target", "service_release")], results[0]


def ends(result: dict[str, Any]) -> dict[str, str]:
    return {host: row["outcome"] for host, row in sorted(result["hosts"].items())}


def test_a_host_that_its_group_ends_is_left_out(tmp_path: Path) -> None:
    done, result = released(tmp_path, [], [], ended=["i-1"])
    assert ends(result) == {"i-1": "departed", "i-2": "released", "i-3": "released"}
    assert result["outcome"] == "succeeded" and "2 hosts" in result["message"] and "i-1 is being ended" in result["message"]
    assert ("i-1", "target", "present", None) not in done, "it was put back into service"


@pytest.mark.parametrize(("bad", "end", "code"), [([], "released", 0), (["i-3"], "back", 20)], ids=["all get it", "and it fails there"])
def test_a_host_that_its_batch_cannot_spare_comes_after_the_batches(tmp_path: Path, bad: list[str], end: str, code: int) -> None:
    done, result = released(tmp_path, bad, [], short=["i-3"])
    assert (result.get("exit_code", 0), ends(result)) == (code, dict.fromkeys(HOSTS, end))
    assert [row[2] for row in done if row[0] == "i-3"][:3] == ["absent", "absent", "active"]
    assert done.index(("i-3", "service_release", "active", 2)) > done.index(("i-2", "target", "present", None)), "it left with the others"


def test_own_steps_before_a_host_are_done_once_though_it_comes_later(tmp_path: Path) -> None:
    """Whoever takes a host out of another system's rota by them does not do so twice."""
    line = {"path": str(tmp_path / "told"), "line": "{{ inventory_hostname }} {{ 999999 | random }}", "create": True}
    (tmp_path / "before_host.yml").write_text(yaml.safe_dump([{"ansible.builtin.lineinfile": line, "throttle": 1}]))
    _, result = released(tmp_path, [], [], {"before_host": str(tmp_path / "before_host.yml")}, short=["i-3"])
    assert ends(result) == dict.fromkeys(HOSTS, "released")
    assert sorted(row.split()[0] for row in (tmp_path / "told").read_text().splitlines()) == HOSTS


@pytest.mark.parametrize(
    ("robbed", "more", "hosts", "hand"),
    [
        pytest.param({"absent": ["i-2", "i-3"]}, {}, ["released", "kept", "kept"], ["i-1"], id="before the second batch"),
        pytest.param({"absent": ["i-2", "i-3"]}, {"max_failures": 2}, ["released", "kept", "kept"], ["i-1"], id="and failures that may be"),
        pytest.param({"present": ["i-1"]}, {}, ["out", "untouched", "untouched"], ["i-1"], id="while a host is out"),
    ],
)
def test_without_the_lock_nothing_more_is_done(tmp_path: Path, robbed: dict[str, list[str]], more: dict[str, Any], hosts: list[str], hand: list[str]) -> None:
    done, result = released(tmp_path, [], [], robbed=robbed, **more)
    assert ends(result) == dict(zip(HOSTS, hosts, strict=True))
    assert (result["outcome"], result["exit_code"], result["needs_hand"]) == ("failed", 30, hand)
    assert "taken by another release" in result["message"]
    assert not [row for row in done if row[1] == "service_release" and row[3] == 1], "a host went back"


@pytest.mark.parametrize(
    ("bad", "gone", "more", "hosts", "code", "hand"),
    [
        pytest.param(["i-2"], [], {}, ["back", "back", "back"], 20, [], id="a failure takes all back"),
        pytest.param(["i-2"], [], {"ways_back": BARRED}, ["released", "out", "released"], 30, ["i-1", "i-2", "i-3"], id="no way back past a migration"),
        pytest.param([], ["i-1"], {}, ["out", "untouched", "untouched"], 30, ["i-1"], id="a host that does not answer goes out of service"),
        pytest.param(["i-2"], [], {"max_failures": 1}, ["released", "out", "released"], 0, ["i-2"], id="a failure that may be"),
        pytest.param(["i-3"], [], {"max_failures": 1, "lost": {"i-2": "timed out"}}, ["back", "out", "back"], 30, ["i-2"], id="a lost host and one more"),
    ],
)
def test_who_goes_where(tmp_path: Path, bad: list[str], gone: list[str], more: dict[str, Any], hosts: list[str], code: int, hand: list[str]) -> None:
    done, result = released(tmp_path, bad, gone, **more)
    assert ends(result) == dict(zip(HOSTS, hosts, strict=True))
    assert (result.get("exit_code", 0), result.get("needs_hand", [])) == (code, hand)
    for host, end in ends(result).items():
        own = [row[1:] for row in done if row[0] == host]
        last = {"released": ("target", "present", None), "back": ("target", "present", None), "untouched": None}
        if end == "out":
            assert [row[1] for row in own if row[0] == "target"][-1] == "absent", f"{host} is registered: {own}"
        elif last[end]:
            assert own[-1] == last[end], f"{host}: {own}"
        if end in ("released", "back"):
            assert [row[2] for row in own if row[0] == "service_release"][-1] == {"released": 2, "back": 1}[end]


def two_colours() -> dict[str, Any]:
    """What the plan of a release says whose green colour is to take over."""
    traffic = {
        "colour": "green", "live": "blue", "first": False, "shares": [100], "groups": {"blue": "b", "green": "g"},
        "instances": {"blue": "web", "green": "web-green"},
        "retire_after_seconds": None, "occupied": False, "now": 0, "watched": False, "bake_seconds": 0, "limits": {}, "free": HOSTS, "rule": "arn",
    }  # fmt: skip
    return {"traffic": traffic, "instance": "web-green", "batched": [], "colouring": HOSTS, "starting": HOSTS, "idling": True}


@pytest.mark.parametrize("starting", [[], ["i-2"]], ids=["all warm", "one not as it was left"])
def test_a_warm_colour_is_not_touched_before_it_has_the_traffic(tmp_path: Path, starting: list[str]) -> None:
    """One call to each host, after the shift, which also says what it runs."""
    done, result = released(tmp_path, [], ["i-3"] if not starting else [], **two_colours() | {"starting": starting, "idling": False})
    assert (result["outcome"], ends(result)) == ("succeeded", dict.fromkeys(HOSTS, "released"))
    assert sorted(row for row in done if row[2] == "active") == [(host, "service_release", "active", 2) for host in starting]
    assert sorted(row[0] for row in done if row[2] == "live") == HOSTS
    assert {row[2] for row in done} <= {"active", "live"}


def test_a_colour_that_does_not_start_on_a_host_gets_no_traffic(tmp_path: Path) -> None:
    done, result = released(tmp_path, ["i-2"], [], **two_colours())
    assert (result["outcome"], result["exit_code"], ends(result)) == ("failed", 20, dict.fromkeys(HOSTS, "kept"))
    assert "failed on i-2: release 2 did not start" in result["message"]
    assert sorted(row[0] for row in done if row[2] == "retired") == HOSTS and not [row for row in done if row[2] == "live"]


@pytest.mark.parametrize(
    ("point", "outcome", "hosts", "hand"),
    [("before_traffic", "failed", ["kept"] * 3, []), ("after_host", "succeeded", ["released"] * 3, ["i-2"])],
)
def test_own_steps_of_a_host_run_beside_two_colours(tmp_path: Path, point: str, outcome: str, hosts: list[str], hand: list[str]) -> None:
    """One that fails before the traffic keeps it where it is; one that fails after it names the host."""
    hooks = {}
    for name in ("before_host", "before_traffic", "after_traffic", "after_host"):
        line = {"path": str(tmp_path / "told"), "line": f"{name} {{{{ inventory_hostname }}}}", "create": True}
        told = yaml.safe_dump([{"ansible.builtin.lineinfile": line, "throttle": 1}])
        refusal = "- ansible.builtin.fail: {msg: the smoke test says no}\n  when: inventory_hostname == 'i-2'\n"
        (tmp_path / f"{name}.yml").write_text(told + (refusal if name == point else ""))
        hooks[name] = str(tmp_path / f"{name}.yml")
    done, result = released(tmp_path, [], [], hooks, **two_colours())
    assert (result["outcome"], ends(result)) == (outcome, dict(zip(HOSTS, hosts, strict=True)))
    assert result.get("needs_hand", []) == hand and "the smoke test says no" in result["message"]
    assert {row[1] for row in done} == {"service_release"}, "no host leaves service"
    points = list(dict.fromkeys(line.split()[0] for line in (tmp_path / "told").read_text().splitlines()))
    assert points == (["before_host", "before_traffic"] if outcome == "failed" else ["before_host", "before_traffic", "after_traffic", "after_host"])
