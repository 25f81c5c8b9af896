"""The daemon: moto's API and the planes in one process, in a session of its own; and starting, asking and ending it."""

from __future__ import annotations

import http.client
import json
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import images
from .engine import Engine, EngineError
from .settings import CHECKOUT, Settings

log = logging.getLogger(__name__)
START_SECONDS = 60
STATUS_PATH = "/flotilla-api/status"
Say = Callable[[str], None]


class CloudError(Exception):
    """The cloud cannot do it; the text names the fix."""


# ---- inside the daemon


def serve(settings: Settings) -> int:
    """Run the cloud until SIGTERM. Called in the daemon's own process."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    os.environ.update({"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local", "AWS_DEFAULT_REGION": settings.region})
    os.environ.pop("AWS_ENDPOINT_URL", None)
    from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
    from werkzeug.serving import BaseWSGIServer, make_server

    from .cloud import Cloud
    from .failures import answering

    cloud = Cloud(settings)
    cloud.install()
    application = DomainDispatcherApplication(answering(create_backend_app))
    servers: dict[str, BaseWSGIServer] = {}

    def routed(environment: dict[str, Any], answer: Any) -> Any:
        if environment.get("PATH_INFO") == STATUS_PATH:
            body = json.dumps({"identity": settings.identity, "rows": cloud.status()}).encode()
            answer("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
            return [body]
        return application(environment, answer)

    class Handler(MotoRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, *args: Any) -> None:
            """Not one line a request."""

    def listen(address: str) -> None:
        if address in servers:
            return
        server = make_server(address, settings.port, routed, threaded=True, request_handler=Handler)
        server.daemon_threads = True  # type: ignore[attr-defined]
        servers[address] = server
        threading.Thread(target=server.serve_forever, daemon=True, name=f"api {address}").start()

    def open_gateway(address: str) -> None:
        listen(address)
        cloud.planes["metadata"].listen(address)  # type: ignore[attr-defined]

    cloud.planes["vpc"].listen = open_gateway  # type: ignore[attr-defined]
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    cloud.start()
    listen("127.0.0.1")
    (settings.state / "ready").write_text(str(os.getpid()))
    log.info("the cloud listens at %s", settings.endpoint)
    ended.wait()
    cloud.stop()
    return 0


# ---- from outside


def pid_of(settings: Settings) -> int | None:
    """The daemon's process id, None when it does not run."""
    try:
        pid = int((settings.state / "pid").read_text())
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except (OSError, ValueError):
        return None
    return pid if b"local_cloud" in command and b"serve" in command else None


def ask(settings: Settings, timeout: float = 30.0) -> dict[str, Any] | None:
    """The status that the daemon gives, None when it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", settings.port, timeout=timeout)
    try:
        connection.request("GET", STATUS_PATH)
        known = json.loads(connection.getresponse().read())
        return dict(known) if known.get("identity") == settings.identity else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def up(settings: Settings, say: Say) -> None:
    """Start the cloud, or leave it when it runs. What killed ones left, this one or others of this machine, is removed first."""
    engine = Engine(settings.identity)
    if pid_of(settings) and ask(settings):
        say(f"the local cloud runs already at {settings.endpoint}")
        return
    end(settings, say)
    for identity in (settings.identity, *engine.abandoned()):
        Engine(identity, engine.client).clear(say)
    images.build(images.CLOUD, say)
    settings.state.mkdir(parents=True, exist_ok=True)
    for name in ("ready", "pid"):
        (settings.state / name).unlink(missing_ok=True)
    make_key(settings)
    write_variables(settings)
    environment = {**os.environ, **settings.variables(), "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": "1"}
    with (settings.state / "cloud.log").open("ab") as sink:
        daemon = subprocess.Popen(
            [sys.executable, "-m", "local_cloud", "serve"],
            cwd=settings.state,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    (settings.state / "pid").write_text(str(daemon.pid))
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if daemon.poll() is not None:
            raise CloudError(f"the local cloud ended at its start (exit {daemon.returncode}):\n{tail(settings)}")
        if (settings.state / "ready").exists() and ask(settings):
            say(f"the local cloud runs at {settings.endpoint}")
            return
        time.sleep(0.1)
    raise CloudError(f"the local cloud does not answer after {START_SECONDS} s:\n{tail(settings)}")


def tail(settings: Settings, lines: int = 15) -> str:
    try:
        return "\n".join((settings.state / "cloud.log").read_text(errors="replace").splitlines()[-lines:])
    except OSError:
        return ""


def make_key(settings: Settings) -> None:
    """The ssh key pair with which inventories/local reaches guests."""
    key = settings.state / "ssh" / "id_ed25519"
    if key.exists():
        return
    key.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not shutil.which("ssh-keygen"):
        raise CloudError("ssh-keygen is missing; fix: `apt-get install openssh-client`")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "flotilla local cloud", "-f", str(key)], check=True)


def write_variables(settings: Settings) -> None:
    """`local.env` beside the state directory, to be read by a shell: `. build/local.env`."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in settings.shell_variables().items()]
    (settings.state.parent / "local.env").write_text("\n".join(lines) + "\n")


def end(settings: Settings, say: Say) -> None:
    """End the daemon, if it runs."""
    pid = pid_of(settings)
    if pid is None:
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and pid_of(settings):
        time.sleep(0.05)
        try:
            os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            pass
    if pid_of(settings):
        os.kill(pid, signal.SIGKILL)
    say("the local cloud has ended")


def down(settings: Settings, say: Say) -> None:
    """End the cloud and remove all that it made: containers, networks, volumes, its state."""
    end(settings, say)
    try:
        Engine(settings.identity).clear(say)
    except EngineError as error:
        say(f"nothing removed: {error}")
    shutil.rmtree(settings.state, ignore_errors=True)
    (settings.state.parent / "local.env").unlink(missing_ok=True)


def push(settings: Settings, image: str, target: str) -> str:
    """Push a local image as REPOSITORY:TAG. Returns its digest. CloudError when the registry refuses."""
    reference = f"127.0.0.1:{settings.push_port}/{target}"
    environment = {**os.environ, "DOCKER_CONFIG": str(settings.state / "docker")}
    subprocess.run(["docker", "tag", image, reference], check=True, env=environment)
    try:
        done = subprocess.run(["docker", "push", reference], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise CloudError(f"{target} was not pushed: {done.stdout.strip().splitlines()[-1]}")
        return next((word for line in done.stdout.splitlines() if "digest:" in line for word in line.split() if word.startswith("sha256:")), "")
    finally:
        subprocess.run(["docker", "rmi", reference], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
