"""The cloud's images, made from Debian packages (no image registry is needed) and kept in the engine under the hash of what they are made from.

`images/<name>/base.json` says which suite and packages `mmdebstrap` puts together; the Dockerfile beside it does the rest, with that system as
`base.tar` in its context. {"like": other} takes the Dockerfile and files of another image.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
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
CLOUD = ("edge", "mysql", "guest")  # what every cloud needs; guest13 when asked for, base for applications
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


def _run(what: str, arguments: list[str]) -> None:
    done = subprocess.run(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=BUILD_SECONDS, check=False)
    if done.returncode != 0:
        raise ImageError(f"{what} failed ({' '.join(arguments[:4])} …, exit {done.returncode}):\n" + "\n".join(done.stdout.splitlines()[-25:]))


def _build(name: str) -> None:
    known = recipe(name)
    with tempfile.TemporaryDirectory(prefix="flotilla-image-") as scratch:
        context = Path(scratch)
        os.chmod(context, 0o755)
        for path in (DIRECTORY / known["folder"]).iterdir():
            if path.is_file() and path.name != "base.json":
                shutil.copy(path, context)
        packages = ["--include=" + ",".join(known["packages"])] if known["packages"] else []
        excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in EXCLUDED] + ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
        options = ["--quiet", "--variant=minbase", '--aptopt=Acquire::Check-Valid-Until "false"', '--aptopt=Acquire::Retries "3"', *excluded, *packages]
        _run(f"image {name}: mmdebstrap", ["mmdebstrap", *options, known["suite"], str(context / "base.tar")])
        _run(f"image {name}: docker build", ["docker", "build", "--quiet", "--label", f"{LABEL}=1", "--tag", tag(name), str(context)])
