"""`make down`: remove what we made outside the clone: clouds, ssh connections, and the docker engine if we started it.

Usage: python3 -m tools.down [--images]   (--images also removes the images that we built; they are kept otherwise, as a cache)
Standard library only: works without the virtual environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tools.phases import BUILD, ROOT, Phases, main_guard
from tools.setup import ENGINE_RECORD, VENV, engine_answer


def docker(*arguments: str) -> list[str]:
    """The words that a docker command prints; none when it fails."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False).stdout.split()


def remove_clouds(phases: Phases) -> None:
    """Every cloud whose state lies in this clone: the demo's, and those that killed test runs left."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return
    for state in {BUILD / "cloud", *BUILD.glob("*/cloud"), *BUILD.glob("e2e/*/cloud")}:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "MAKE"))}
        name = "local cloud" if state == BUILD / "cloud" else f"local cloud of {state.parent.name}"
        phases.run(name, [str(python), "-m", "local_cloud", "down"], {**kept, "FLOTILLA_CLOUD_STATE": str(state)}, timeout=300)


def close_connections() -> None:
    """End the ssh connections that ansible keeps open for a minute."""
    for socket in (ROOT / ".ansible" / "cp").glob("*"):
        subprocess.run(["ssh", "-o", f"ControlPath={socket}", "-O", "exit", "host"], capture_output=True, check=False)


def remove_images(phases: Phases) -> None:
    def remove(show: object) -> str:
        images = sorted(set(docker("image", "ls", "-q", "--filter", "label=flotilla.image=1")))
        if images:
            docker("image", "rm", "-f", *images)
        return f"{len(images)} removed"

    phases.call("images", remove)


def stop_engine(phases: Phases) -> None:
    """Stop the engine that `tools.setup` started, unless somebody else's container runs on it."""
    if not ENGINE_RECORD.is_file():
        return
    record = json.loads(ENGINE_RECORD.read_text(encoding="ascii"))
    others = docker("ps", "-q")
    if others:
        phases.say(f"    kept  docker engine: {len(others)} other container(s) run on it")
        return
    if record["by"] == "systemd":
        phases.run("docker engine", ["systemctl", "stop", "docker.socket", "docker"])
    elif is_engine(record["pid"]):

        def stop(show: object) -> str:
            os.kill(record["pid"], signal.SIGTERM)
            deadline = time.monotonic() + 60
            while is_engine(record["pid"]) and time.monotonic() < deadline:
                time.sleep(0.2)
            if is_engine(record["pid"]):
                raise RuntimeError(f"the docker engine (process {record['pid']}) did not stop within 60 s")
            return "stopped"

        phases.call("docker engine", stop)
    ENGINE_RECORD.unlink()


def is_engine(pid: int) -> bool:
    """Whether a process is a docker engine that runs (one that ended and was not yet waited for is not)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "(dockerd)" in status and status.rpartition(")")[2].split()[0] != "Z"


def main() -> int:
    phases = Phases("down", BUILD / "logs" / "down")
    close_connections()
    if engine_answer()[0]:
        remove_clouds(phases)
        if "--images" in sys.argv[1:]:
            remove_images(phases)
        stop_engine(phases)
    phases.say("Nothing of ours is left outside this directory, but for images in docker's store (`make clean` removes these too) and Debian packages.")
    return 0


if __name__ == "__main__":
    sys.exit(main_guard(main))
