"""Make ready what every other command needs: virtual environment, docker engine, the link that makes the checkout a collection.

Run by the system's Python, before anything is installed: standard library only. Does nothing when all is there.
Usage: python3 -m tools.setup [venv] [engine]   (both without arguments)
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

from tools.phases import BUILD, ROOT, PhaseFailed, Phases, main_guard

VENV = ROOT / ".venv"
STAMP = VENV / ".requirements"
LINK = ROOT / ".ansible" / "collections" / "ansible_collections" / "flotilla" / "ec2"
ENGINE_RECORD = BUILD / "docker" / "engine.json"
# Command → the Debian package that brings it. What the local cloud and the tests run on this machine.
COMMANDS = {"docker": "docker.io", "mmdebstrap": "mmdebstrap", "ssh": "openssh-client", "ssh-keygen": "openssh-client"}
# mmdebstrap, run by a plain user, changes into a user namespace of several users with it.
COMMANDS_OF_USERS = {"newuidmap": "uidmap"}
ENGINE_PACKAGES = ["docker.io", "iptables"]
# A guest takes about eight of the inotify instances that the kernel allows a user: with its own 128, the sixteenth guest on a machine does not boot.
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_INSTANCES = 1024


def requirements_digest() -> str:
    """What the virtual environment is made from: the lock file and the Python that runs it."""
    text = (ROOT / "requirements.txt").read_bytes() + sys.version.encode()
    return hashlib.sha256(text).hexdigest()


def locked(name: str, text: str) -> str:
    """The entry of one package in a hash-locked requirements file, hashes included."""
    entry = re.search(rf"^{re.escape(name)}==.*?(?=^\S|\Z)", text, re.MULTILINE | re.DOTALL)
    if entry is None:
        raise PhaseFailed("setup", f"requirements.txt does not lock {name}: run `make lock`")
    return entry.group(0)


def make_link() -> None:
    """`flotilla.ec2` resolves to the checkout itself."""
    LINK.parent.mkdir(parents=True, exist_ok=True)
    if not LINK.is_symlink() or str(LINK.readlink()) != "../../../..":
        LINK.unlink(missing_ok=True)
        LINK.symlink_to("../../../..")


def make_venv(phases: Phases) -> None:
    """Install exactly the locked packages. A run that was interrupted is taken up again; the stamp is written last."""
    if STAMP.is_file() and STAMP.read_text(encoding="ascii") == requirements_digest():
        return
    python = str(VENV / "bin" / "python")
    if not (VENV / "bin" / "pip").exists():
        package = f"python3.{sys.version_info.minor}-venv" if shutil.which("apt-get") else "the venv module of your Python"
        phases.run(
            "virtual environment",
            [sys.executable, "-m", "venv", "--clear", str(VENV)],
            remedy=f"install {package} (Debian: sudo apt-get install python3-venv) and run the same command again",
        )
    installer = BUILD / "installer.txt"
    installer.parent.mkdir(exist_ok=True)
    installer.write_text(locked("uv", (ROOT / "requirements.txt").read_text(encoding="utf-8")), encoding="utf-8")
    remedy = "the Python package index must be reachable by pip; behind a proxy set HTTPS_PROXY, with a mirror configure pip"
    phases.run("package installer", [python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--require-hashes", "-r", str(installer)], remedy=remedy)
    # The machine's own certificate store, where there is one: behind a company's proxy the installer's list of authorities is not enough.
    store = ["--system-certs"] if Path("/etc/ssl/certs/ca-certificates.crt").exists() else []
    command = [str(VENV / "bin" / "uv"), "pip", "sync", *store, "--python", python, "--require-hashes", "requirements.txt"]
    if phases.run("python packages", command, {"UV_CACHE_DIR": str(ROOT / ".cache" / "uv")}, check=False):
        # Slower, but it reads pip's configuration: a mirror or a proxy that only pip knows about.
        again = [python, "-m", "pip", "install", "--no-cache-dir", "--require-hashes", "-r", "requirements.txt"]
        phases.run("python packages by pip", again, remedy=remedy)
    STAMP.write_text(requirements_digest(), encoding="ascii")


def engine_answer() -> tuple[bool, str]:
    """Whether a docker engine answers on the socket that clients use here, and its words if it does not."""
    if not shutil.which("docker"):
        return False, "no docker command"
    answer = subprocess.run(["docker", "version", "--format", "{{.Server.Version}}"], capture_output=True, text=True, check=False, timeout=60)
    return answer.returncode == 0, (answer.stdout if answer.returncode == 0 else answer.stderr).strip()


def install_packages(phases: Phases, packages: list[str], why: str) -> None:
    """Install Debian packages, or say who has to."""
    names = " ".join(packages)
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        raise PhaseFailed(
            "prerequisites", f"{why}\nTo mend it: sudo apt-get install {names}   (or your system's packages of the same tools), then the same again"
        )
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    phases.run("package lists", ["apt-get", "update", "-q"], quiet, remedy="apt's mirrors must be reachable")
    phases.run("packages", ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages], quiet, remedy=f"apt-get install {names}")


def forget_stale(pid_file: Path, program: str) -> None:
    """Remove a pid file whose process is gone or is another program now: an engine that was killed leaves one, and the next refuses to start."""
    try:
        pid = int(pid_file.read_text(encoding="ascii").strip())
        running = Path(f"/proc/{pid}/comm").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        running = ""
    if running != program:
        pid_file.unlink(missing_ok=True)


def start_engine(phases: Phases) -> None:
    """Start an installed engine: by systemd where that is PID 1, else in a process session of its own. Recorded for `make down`."""
    ENGINE_RECORD.parent.mkdir(parents=True, exist_ok=True)
    log = ENGINE_RECORD.parent / "dockerd.log"
    systemd = Path("/run/systemd/system").is_dir()
    if systemd:
        phases.run("docker service", ["systemctl", "start", "docker"], remedy="journalctl -u docker")
        record: dict[str, object] = {"by": "systemd"}
    else:
        forget_stale(Path("/var/run/docker.pid"), "dockerd")
        forget_stale(Path("/var/run/docker/containerd/containerd.pid"), "containerd")
        with log.open("ab") as sink:
            process = subprocess.Popen(["dockerd"], cwd="/", stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True)
        record = {"by": "session", "pid": process.pid}
    ENGINE_RECORD.write_text(json.dumps(record), encoding="ascii")

    def wait(show: object) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            good, words = engine_answer()
            if good:
                return f"version {words}"
            if not systemd and process.poll() is not None:
                break
            time.sleep(0.5)
        tail = "\n".join("  | " + line for line in log.read_text(errors="replace").splitlines()[-15:]) if log.exists() else ""
        raise PhaseFailed("docker engine", f"the docker engine did not start.\n{tail}\nWhole log: {log}")

    phases.call("docker engine", wait)


def make_engine(phases: Phases) -> None:
    """A docker engine that answers, and the few commands that the local cloud needs beside it."""
    good, words = engine_answer()
    if not good and re.search(r"permission denied", words, re.IGNORECASE):
        raise PhaseFailed(
            "docker engine",
            "this user may not talk to the docker engine.\nTo mend it: sudo usermod -aG docker $USER, log in again, and run the same command again",
        )
    if not good and os.environ.get("DOCKER_HOST"):
        raise PhaseFailed(
            "docker engine",
            f"DOCKER_HOST is {os.environ['DOCKER_HOST']}, and no engine answers there: {words}\nTo mend it: start that engine or unset DOCKER_HOST",
        )
    if not good and os.geteuid() != 0:
        raise PhaseFailed(
            "docker engine",
            "no docker engine runs here, and only root can start one.\n"
            "To mend it: sudo apt-get install docker.io && sudo usermod -aG docker $USER, log in again; or run the same command as root",
        )
    needed = COMMANDS if os.geteuid() == 0 else COMMANDS | COMMANDS_OF_USERS
    missing = sorted({package for command, package in needed.items() if not shutil.which(command)})
    if not good:
        missing = sorted({*missing, *(package for package, command in (("docker.io", "dockerd"), ("iptables", "iptables")) if not shutil.which(command))})
    if missing:
        install_packages(phases, missing, f"missing on this machine: {', '.join(missing)}")
        good, words = engine_answer()
        if not shutil.which("docker"):  # Debian 13 and later pack the client apart
            install_packages(phases, ["docker-cli"], "missing on this machine: the docker command")
            good, words = engine_answer()
    if not good:
        start_engine(phases)
    make_limits(phases)


def make_limits(phases: Phases) -> None:
    """Enough inotify instances for all guests. Until the machine's next boot; who may not set it is told how."""
    try:
        allowed = int(INOTIFY.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return  # no Linux: the engine, and its limits, are elsewhere
    if allowed >= INOTIFY_INSTANCES:
        return
    setting = f"fs.inotify.max_user_instances={INOTIFY_INSTANCES}"
    try:
        INOTIFY.write_text(str(INOTIFY_INSTANCES), encoding="ascii")
        phases.say(f"    set   {setting}, until the next boot: {allowed} are enough for {allowed // 8} guests")
    except OSError:
        phases.say(f"    note  {allowed} inotify instances are enough for {allowed // 8} guests; for more: sudo sysctl -w {setting}")


def main() -> int:
    if sys.version_info < (3, 11):
        raise PhaseFailed(
            "setup", f"Python 3.11 or later is needed, this is {sys.version.split()[0]}.\nTo mend it: make PYTHON=python3.11 … (Debian 12 and later bring it)"
        )
    wanted = sys.argv[1:] or ["venv", "engine"]
    os.environ["PATH"] += f"{os.pathsep}/usr/sbin{os.pathsep}/sbin"  # iptables and dockerd's helpers, which a plain user's path may lack
    phases = Phases("setup", BUILD / "logs" / "setup")
    make_link()
    failures: list[BaseException] = []

    def guarded(step: object) -> None:
        try:
            step(phases)  # type: ignore[operator]
        except BaseException as error:
            failures.append(error)

    steps = [step for name, step in (("venv", make_venv), ("engine", make_engine)) if name in wanted]
    threads = [threading.Thread(target=guarded, args=(step,), daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return 0


if __name__ == "__main__":
    sys.exit(main_guard(main))
