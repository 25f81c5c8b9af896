"""The test suite: named steps, each with its time, all of them run even when one fails, one line of result at the end.

Two steps run at a time, in the order of the list. Lint and unit tests, which want the processors, end before the first cloud boots.
Usage: python -m tools.suite [lint] [unit] [roles] [e2e] [--role ROLE] [--stack STACK]   (all without arguments)
"""

from __future__ import annotations

import argparse
import fcntl
import itertools
import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from tools.phases import BUILD, ROOT, Phases, elapsed_text, main_guard

BIN = Path(sys.executable).parent
PARTS = ["lint", "unit", "roles", "e2e"]
END_TO_END = "end to end "
DATA_PLANES = "data planes"
# The roles' tests: one cloud, on which those of hosts run beside those that speak to AWS's API alone.
ROLE_CLOUD, ROLES, HOST_ROLES, ROLE_CLOUD_ENDS = "cloud of the roles", "roles", "roles of hosts", "end of the roles' cloud"
# One after the other: what is patched are the hosts of docker_engine, and what becomes an image in the end is one of host_baseline.
HOST_SCENARIOS = ("docker_engine", "host_baseline", "patch", "service")
# What molecule notes of a run: kept here, not in the user's home, and cleared before each run - a killed one's says that its cloud still stands.
MOLECULE = BUILD / "molecule" / "ephemeral"
MEASURING = BUILD / "e2e" / "measuring.lock"


@dataclass(frozen=True)
class Step:
    """A command with a name. It begins when the steps named in `after`, which come earlier in the list, have ended."""

    name: str
    command: list[str]
    environment: dict[str, str] = field(default_factory=dict)
    after: tuple[str, ...] = ()


def environment() -> dict[str, str]:
    """The environment of every step: nobody's account, no settings of make or of a demo that runs beside it, but for the guests' version of cgroups."""
    # Without the bytecode that Python keeps, every ansible-playbook compiles all of itself first.
    foreign = ("AWS_", "FLOTILLA_", "ANSIBLE_", "MOLECULE_", "PYTEST_", "MAKE", "MFLAGS", "BOTO_", "PYTHONDONTWRITEBYTECODE")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept |= {name: os.environ[name] for name in ("FLOTILLA_CLOUD_CGROUP",) if name in os.environ}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "ANSIBLE_HOME": str(ROOT / ".ansible")}


def steps(parts: list[str], role: str | None = None, stack: str | None = None) -> list[Step]:
    """The steps of the chosen parts, in the order in which they are begun."""
    found: list[Step] = []
    if "roles" in parts or "e2e" in parts:
        # On a machine that has no images yet they are built beside the linters.
        found.append(Step("images", ["python", "-m", "tools.stack_images"]))
    if "lint" in parts:
        ours = [name for name in ("plugins", "local_cloud", "tools", "tests") if (ROOT / name).is_dir()]
        found += [
            Step("ruff", ["ruff", "check", "."]),
            Step("yamllint", ["yamllint", "--strict", "."]),
            Step("mypy", ["mypy", *ours]),
            Step("ansible-lint", ["ansible-lint", "--offline"]),
            Step("changelog", ["antsibull-changelog", "lint"]),
            Step("workflows", ["python", "-m", "tools.actionlint"]),
        ]
    if "unit" in parts:
        found.append(Step("unit tests", ["pytest", "-q", "-n", "2", "-m", "not docker", "tests/unit"]))
    of_roles = roles(role) if "roles" in parts else []
    # Before the data planes, so that it stands when these have ended.
    found += [step for step in of_roles if step.name == ROLE_CLOUD]
    if "unit" in parts:
        # Those that boot clouds of their own run one after another: side by side they would measure each other.
        found.append(Step(DATA_PLANES, ["pytest", "-v", "--no-header", "-m", "docker", "tests/unit"]))
    found += [step for step in of_roles if step.name in (ROLES, HOST_ROLES)]
    of_stacks = end_to_end(stack) if "e2e" in parts else []
    # The first stack is prepared beside the last of the roles.
    return [*found, *of_stacks[:1], *[step for step in of_roles if step.name == ROLE_CLOUD_ENDS], *of_stacks[1:]]


def roles(role: str | None) -> list[Step]:
    """The tests of one role, or of all on one cloud that stands before: those of hosts, which mostly wait, beside those that keep a processor busy."""
    if role:
        return [Step(ROLES, molecule("test", "--scenario-name", role), molecule_environment("all"))]
    hosts = [word for name in HOST_SCENARIOS for word in ("--scenario-name", name)]
    others = [word for name in ("default", *HOST_SCENARIOS) for word in ("--exclude", name)]
    standing = ("--no-shared-state", "--destroy=never")
    return [
        Step(ROLE_CLOUD, molecule("create", "--scenario-name", "default"), molecule_environment("cloud")),
        Step(ROLES, molecule("test", *standing, "--all", *others), molecule_environment("account"), (ROLE_CLOUD,)),
        Step(HOST_ROLES, molecule("test", *standing, *hosts), molecule_environment("hosts"), (ROLE_CLOUD,)),
        Step(ROLE_CLOUD_ENDS, molecule("destroy", "--scenario-name", "default"), molecule_environment("cloud"), (ROLES, HOST_ROLES)),
    ]


def end_to_end(stack: str | None) -> list[Step]:
    """All tests of the stack that is named, or of every stack those for which a run of everything has time."""
    chosen = [] if stack else ["-m", "not by_name"]
    command = ["pytest", "-q", "--maxfail=3", "--capture=sys", *chosen]
    return [Step(f"{END_TO_END}{name}", [*command, f"tests/e2e/test_{name}.py"]) for name in ([stack] if stack else stacks())]


def molecule(verb: str, *options: str) -> list[str]:
    return ["molecule", verb, "--no-command-borders", *options]


def molecule_environment(lane: str) -> dict[str, str]:
    """Two runs of molecule at a time have notes of their own."""
    return {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "MOLECULE_EPHEMERAL_DIRECTORY": str(MOLECULE / lane)}


def stacks() -> list[str]:
    """The stacks that have end-to-end tests: hello, whose two hosts are few enough to be made beside the roles', then those with most tests aside. The next
    stack is prepared beside these, and nothing beside the last.

    Tests for which a run of everything has no time are marked `by_name`, or say BY_NAME = True for a whole file: they run when they are asked for,
    `make test-e2e STACK=releases`.
    """
    tests = {path.stem.removeprefix("test_"): path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "e2e").glob("test_*.py")}
    tests = {name: text for name, text in tests.items() if not re.search(r"^BY_NAME = True$", text, re.M)}
    aside = {name: len(re.findall(r"^@pytest\.mark\.aside\n(?!@pytest\.mark\.by_name)", text, re.M)) for name, text in tests.items()}
    return sorted(tests, key=lambda name: (name != "hello", -aside[name], name))


def wants_a_cloud(name: str) -> bool:
    """Steps that boot clouds begin when all that came before has ended, and share two lanes. Data planes and roles run beside each other; beside the tests of a
    stack runs nothing, but for the preparation of the next one: these settle among themselves who may do what when (tests/e2e/conftest.py)."""
    return name.startswith(END_TO_END) or name in (DATA_PLANES, ROLE_CLOUD, ROLES, HOST_ROLES, ROLE_CLOUD_ENDS)


@contextmanager
def measuring() -> Iterator[None]:
    """A part of the turn of tests/e2e/conftest.py, in which a stack is tested, and for the whole of which it waits once it is prepared."""
    MEASURING.parent.mkdir(parents=True, exist_ok=True)
    with MEASURING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        yield


def failed_role(log: str) -> str | None:
    """The scenario that ended a run of all of them, read from molecule's log; None when it was none (the cloud itself did not start)."""
    ends = re.findall(r"^ERROR\s+(\S+) ➜ \w+: Executed: Failed", re.sub(r"\x1b\[[0-9;]*m", "", log), re.MULTILINE)
    return next((name for name in ends if name != "default"), None)


def again(phases: Phases, failed: list[str]) -> None:
    """Run the roles that have failed once more, alone and with all that they say: in a run of all roles their words stand far above the end of the log."""
    for step in (ROLES, HOST_ROLES):
        if step in failed and (name := failed_role(phases.log(step).read_text(encoding="utf-8", errors="replace"))):
            forget_molecule()
            (alone,) = roles(name)
            phases.run(f"role {name} alone", [str(BIN / "molecule"), *alone.command[1:]], alone.environment, timeout=1200, check=False, stream=True)


def reasons(log: str) -> list[str]:
    """What failed, read from a step's log: pytest's own words, and what Ansible says of a task or host; the last few."""
    plain = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in log.splitlines()]
    found = [line for line in plain if re.match(r"(FAILED|ERROR) \S+::|E  +\w*(Error|Exception)\b|fatal: \[|\[ERROR\]", line)]
    return [line[:400] for line in dict.fromkeys(found)][-8:]


def forget_molecule() -> None:
    """Clear what molecule noted of an earlier run. What that run left in the docker engine is removed when the cloud starts."""
    shutil.rmtree(MOLECULE, ignore_errors=True)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the test suite, or parts of it.")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all without")
    parser.add_argument("--role", help="one molecule scenario only")
    parser.add_argument("--stack", help="the stack whose end-to-end tests run, all of them (default: of every stack those for which there is time)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    phases = Phases("suite", BUILD / "logs" / "suite")
    failed: list[str] = []
    os.environ.update(environment())
    for name in [name for name in os.environ if name not in environment()]:
        del os.environ[name]
    chosen = steps(options.parts or PARTS, options.role, options.stack)
    names = [step.name for step in chosen]
    turn = ExitStack()  # held by the roles from the start of their cloud to its end
    running: dict[str, Future[None]] = {}

    def run(step: Step) -> None:
        wait([running[name] for name in step.after if name in running])
        if ROLE_CLOUD in failed and step.name in (ROLES, HOST_ROLES):
            failed.append(step.name)
            phases.say(f"{step.name} not run: {ROLE_CLOUD} failed")
            return
        label = f"{step.name.removeprefix(END_TO_END):<6}" if step.name.startswith(END_TO_END) else ""
        one_role = step.name == ROLES and ROLE_CLOUD not in names
        stream = step.command[0] == "pytest" or one_role
        if step.name == ROLE_CLOUD:
            turn.enter_context(measuring())
        if step.name == ROLE_CLOUD or one_role:
            forget_molecule()
        with measuring() if step.name == DATA_PLANES or one_role else nullcontext():
            code = phases.run(
                step.name, [str(BIN / step.command[0]), *step.command[1:]], step.environment, timeout=2400, check=False, stream=stream, label=label
            )
        if code:
            failed.append(step.name)
            phases.say(phases.failure(step.name, code, shown=stream))
        if step.name == ROLE_CLOUD_ENDS:
            if ROLE_CLOUD not in failed:
                again(phases, failed)
            turn.close()

    for _, together in itertools.groupby(chosen, key=lambda step: wants_a_cloud(step.name)):
        with ThreadPoolExecutor(2) as lanes:
            try:
                for step in together:
                    running[step.name] = lanes.submit(run, step)
                for done in list(running.values()):
                    done.result()
            except BaseException:
                lanes.shutdown(wait=False, cancel_futures=True)
                phases.end()
                raise
    phases.say("")
    for name in names:
        phases.say(f"  {'FAILED' if name in failed else 'passed'}  {name:<28} {elapsed_text(phases.times.get(name, 0.0)):>12}")
    phases.say(f"  all in {elapsed_text(phases.seconds)}")
    for name in [name for name in names if name in failed and name in phases.times]:
        for line in reasons(phases.log(name).read_text(encoding="utf-8", errors="replace")):
            phases.say(f"  {name}: {line}")
    phases.say(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_guard(main))
