"""The cloud's images, made from Debian packages (no image registry is needed) and kept in the engine under the hash of what they are made from.

`images/<name>/base.json` says which suite and packages `mmdebstrap` puts together; the Dockerfile beside it does the rest on that system, its `BASE`.
{"like": other} takes the Dockerfile and files of another image.
"""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .engine import EngineError

DIRECTORY = Path(__file__).resolve().parent / "images"
LABEL = "flotilla.image"
CLOUD = ("edge", "mysql", "guest", "cache")  # what every cloud needs; guest13 when asked for, base for applications
BUILD_SECONDS = 900
EXCLUDED = ("/usr/share/man/*", "/usr/share/locale/*", "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/lintian/*")


class ImageError(EngineError):
    """An image cannot be built; the text has the end of the build's output."""


@functools.cache
def recipe(name: str) -> dict[str, Any]:
    """The parsed base.json of an image, `like` resolved: suite, packages, folder."""
    own = json.loads((DIRECTORY / name / "base.json").read_text())
    if "like" in own:
        own = {**recipe(own["like"]), **own}
    else:
        own["folder"] = name
    return dict(own)


@functools.cache
def tag(name: str) -> str:
    """flotilla/<name>:<hash of everything that goes in>."""
    known = recipe(name)
    digest = hashlib.sha256(json.dumps({"suite": known["suite"], "packages": known["packages"]}, sort_keys=True).encode())
    folder = DIRECTORY / known["folder"]
    for path in sorted(folder.iterdir()):
        if path.name not in ("base.json", "__pycache__"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return f"flotilla/{name}:{digest.hexdigest()[:12]}"


def present(name: str) -> bool:
    """Whether the engine has it."""
    return subprocess.run(["docker", "image", "inspect", tag(name)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def build(names: Iterable[str], say: Callable[[str], None], at_once: int = 2) -> None:
    """Build the images that are missing, some side by side. ImageError for the first that fails."""
    missing = [name for name in names if not present(name)]
    if not missing:
        return
    if not shutil.which("mmdebstrap"):
        raise ImageError("mmdebstrap is missing; it makes the cloud's images. Fix: `apt-get install mmdebstrap` (as root), or `make setup`")
    lock = threading.Lock()

    def one(name: str) -> None:
        began = time.monotonic()
        with lock:
            say(f"image {name}: building")
        _build(name)
        with lock:
            say(f"image {name}: built in {time.monotonic() - began:.0f} s")

    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(one, name) for name in missing]:
            done.result()


def _finished(what: str, process: subprocess.Popen[bytes], said: bytes) -> None:
    if process.returncode != 0:
        tail = "\n".join(said.decode(errors="replace").splitlines()[-25:])
        raise ImageError(f"{what} failed (exit {process.returncode}):\n{tail}")


def _bootstrap(name: str, target: str) -> None:
    """Put a Debian together and import it as the image `target`, piped: its files touch the disk twice, not four times."""
    known = recipe(name)
    packages = ["--include=" + ",".join(known["packages"])] if known["packages"] else []
    options = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED] + ["--dpkgopt=path-include=/usr/share/doc/*/copyright", "--dpkgopt=force-unsafe-io"]
    patience = ['--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=Acquire::Retries "3"']
    command = ["mmdebstrap", "--quiet", "--variant=minbase", *patience, *options, *packages, known["suite"], "-"]
    with tempfile.TemporaryFile() as said:
        maker = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=said)
        taker = subprocess.Popen(["docker", "import", "-", target], stdin=maker.stdout, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert maker.stdout
        maker.stdout.close()
        answer, _ = taker.communicate(timeout=BUILD_SECONDS)
        maker.wait(60)
        said.seek(0)
        _finished(f"image {name}: mmdebstrap", maker, said.read())
        _finished(f"image {name}: docker import", taker, answer)


def _build(name: str) -> None:
    base = f"{tag(name)}-base"
    _bootstrap(name, base)
    folder = str(DIRECTORY / recipe(name)["folder"])
    command = ["docker", "build", "--quiet", "--label", f"{LABEL}=1", "--build-arg", f"BASE={base}", "--tag", tag(name), folder]
    build = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = build.communicate(timeout=BUILD_SECONDS)
    _finished(f"image {name}: docker build", build, said)
    subprocess.run(["docker", "rmi", base], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False)
