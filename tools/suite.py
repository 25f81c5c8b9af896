"""The test suite: named steps, each with its time, all of them run even when one fails, one line of result at the end.

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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

from tools.phases import BUILD, ROOT, Phases, elapsed_text, main_guard

BIN = Path(sys.executable).parent
PARTS = ["lint", "unit", "roles", "e2e"]
END_TO_END = "end to end "
Step = tuple[str, list[str], dict[str, str]]
# What molecule notes of a run: kept here, not in the user's home, and cleared before each run - a killed one's says that its cloud still stands.
MOLECULE = BUILD / "molecule" / "ephemeral"
MEASURING = BUILD / "e2e" / "measuring.lock"
MOLECULE_ENVIRONMENT = {"ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "MOLECULE_EPHEMERAL_DIRECTORY": str(MOLECULE)}


def environment() -> dict[str, str]:
    """The environment of every step: nobody's account, no settings of make or of a demo that runs beside it."""
    foreign = ("AWS_", "FLOTILLA_", "ANSIBLE_", "MOLECULE_", "PYTEST_", "MAKE", "MFLAGS", "BOTO_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {**kept, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}", "PYTHONUNBUFFERED": "1", "COLUMNS": "200", "ANSIBLE_HOME": str(ROOT / ".ansible")}


def steps(parts: list[str], role: str | None = None, stack: str | None = None) -> list[Step]:
    """The steps of the chosen parts: name, command, and what its environment has beyond the common one."""
    found: list[Step] = []
    if "lint" in parts:
        ours = [name for name in ("plugins", "local_cloud", "tools", "tests") if (ROOT / name).is_dir()]
        found += [
            ("ruff", ["ruff", "check", "."], {}),
            ("yamllint", ["yamllint", "--strict", "."], {}),
            ("mypy", ["mypy", *ours], {}),
            ("ansible-lint", ["ansible-lint", "--offline"], {}),
            ("changelog", ["antsibull-changelog", "lint"], {}),
            ("workflows", ["python", "-m", "tools.actionlint"], {}),
        ]
    if "unit" in parts:
        # Those that boot clouds of their own run one after another: side by side they would measure each other.
        found.append(("unit tests", ["pytest", "-q", "-n", "2", "-m", "not docker", "tests/unit"], {}))
        found.append(("data planes", ["pytest", "-v", "--no-header", "-m", "docker", "tests/unit"], {}))
    if "roles" in parts:
        found.append(("roles", molecule(role), MOLECULE_ENVIRONMENT))
    if "e2e" in parts:
        names = [stack] if stack else stacks()
        found += [(f"{END_TO_END}{name}", ["pytest", "-q", "--maxfail=3", "--capture=sys", f"tests/e2e/test_{name}.py"], {}) for name in names]
    return found


def stacks() -> list[str]:
    """The stacks that have end-to-end tests, those with most tests aside first: the next stack is prepared beside these, and nothing beside the last.

    Tests for which a run of everything has no time say BY_NAME = True: they run when they are asked for, `make test-e2e STACK=releases`.
    """
    tests = {path.stem.removeprefix("test_"): path.read_text(encoding="utf-8") for path in (ROOT / "tests" / "e2e").glob("test_*.py")}
    tests = {name: text for name, text in tests.items() if not re.search(r"^BY_NAME = True$", text, re.M)}
    return sorted(tests, key=lambda name: (-tests[name].count("@pytest.mark.aside"), name))


def lanes_of(name: str) -> str:
    """Steps that follow each other with the same word here share two lanes. Beside what boots clouds runs nothing, but for the preparation of the next
    stack for its end-to-end tests: these settle among themselves who may do what when (tests/e2e/conftest.py)."""
    if name == "roles" or name.startswith(END_TO_END):
        return "clouds"
    return name if name == "data planes" else "checks"


@contextmanager
def measuring() -> Iterator[None]:
    """The turn of tests/e2e/conftest.py in which a stack is tested, and for which it waits once it is prepared."""
    MEASURING.parent.mkdir(parents=True, exist_ok=True)
    with MEASURING.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def molecule(role: str | None = None) -> list[str]:
    """The command that tests one role, or all."""
    return ["molecule", "test", "--no-command-borders", *(["--scenario-name", role] if role else ["--all"])]


def failed_role(log: str) -> str | None:
    """The scenario that ended a run of all of them, read from molecule's log; None when it was none (the cloud itself did not start)."""
    ends = re.findall(r"^ERROR\s+(\S+) ➜ \w+: Executed: Failed", re.sub(r"\x1b\[[0-9;]*m", "", log), re.MULTILINE)
    return next((name for name in ends if name != "default"), None)


def again(phases: Phases, role: str | None) -> None:
    """Run the role that has failed once more, alone and with all that it says: in a run of all roles its words stand far above the end of the log."""
    name = None if role else failed_role(phases.log("roles").read_text(encoding="utf-8", errors="replace"))
    if name:
        forget_molecule()
        phases.run(f"role {name} alone", [str(BIN / "molecule"), *molecule(name)[1:]], MOLECULE_ENVIRONMENT, timeout=1200, check=False, stream=True)


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
    parser.add_argument("--stack", help="the stack of the end-to-end test (default: hello)")
    options = parser.parse_args()
    if unknown := [part for part in options.parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]!r}; parts are {', '.join(PARTS)}")
    phases = Phases("suite", BUILD / "logs" / "suite")
    failed: list[str] = []
    os.environ.update(environment())
    for name in [name for name in os.environ if name not in environment()]:
        del os.environ[name]
    chosen = steps(options.parts or PARTS, options.role, options.stack)
    names = [name for name, _, _ in chosen]

    def run(step: Step) -> None:
        name, command, more = step
        label = f"{name.removeprefix(END_TO_END):<6}" if name.startswith(END_TO_END) else ""
        stream = command[0] == "pytest" or (name == "roles" and options.role is not None)
        if name == "roles":
            forget_molecule()
        with measuring() if name == "roles" else nullcontext():
            code = phases.run(name, [str(BIN / command[0]), *command[1:]], more, timeout=2400, check=False, stream=stream, label=label)
            if code:
                failed.append(name)
                phases.say(phases.failure(name, code, shown=stream))
                if name == "roles":
                    again(phases, options.role)

    for _, together in itertools.groupby(chosen, key=lambda step: lanes_of(step[0])):
        with ThreadPoolExecutor(2) as lanes:
            try:
                for done in [lanes.submit(run, step) for step in together]:
                    done.result()
            except BaseException:
                lanes.shutdown(wait=False, cancel_futures=True)
                phases.end()
                raise
    phases.say("")
    for name in names:
        phases.say(f"  {'FAILED' if name in failed else 'passed'}  {name:<28} {elapsed_text(phases.times.get(name, 0.0)):>12}")
    phases.say(f"  all in {elapsed_text(phases.seconds)}")
    for name in [name for name in names if name in failed]:
        for line in reasons(phases.log(name).read_text(encoding="utf-8", errors="replace")):
            phases.say(f"  {name}: {line}")
    phases.say(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main_guard(main))
