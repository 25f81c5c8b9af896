# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""Where a service's releases lie on a host, and how one of them becomes the current one. Files only; no docker, no systemd.

/etc/flotilla/<service>/releases/<number>/     everything that a release fixes: unit, environment, names of secrets; written once, whole or not at all
/etc/flotilla/<service>/current                link to the release that the unit starts
/etc/flotilla/<service>/live                   with two colours, the name of the one that serves
/etc/systemd/system/flotilla-<service>.service link to the unit of that release
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

RELEASE_FILE = "release.json"
MASK = "********"
CONFIGURATION_LENGTH = 16
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


class Layout:
    """The paths of one service. `root` is the root of the file system, another one in tests."""

    def __init__(self, service: str, root: str | Path = "/") -> None:
        self.service, self.root = service, root
        self.unit_name = f"flotilla-{service}.service"
        self.container = f"flotilla-{service}"
        self.retirement = f"{self.container}-retire.timer"  # the timer that stops the service later
        self.directory = Path(root, "etc/flotilla", service)
        self.releases = self.directory / "releases"
        self.link = self.directory / "current"
        self.unit = Path(root, "etc/systemd/system", self.unit_name)
        self.wanted = self.unit.parent / "multi-user.target.wants" / self.unit_name  # the link by which the host starts it when it boots
        self.live = self.directory / "live"  # of a service with two colours: the name of the one that serves
        self.run = Path(root, "run/flotilla", service)
        self.data = Path(root, "var/lib/flotilla", service)

    def release(self, number: int) -> Path:
        return self.releases / str(number)

    def prepared(self) -> list[int]:
        """The numbers of the releases that lie ready, ascending."""
        if not self.releases.is_dir():
            return []
        return sorted(int(path.name) for path in self.releases.iterdir() if path.name.isdigit() and (path / RELEASE_FILE).is_file())

    def current(self) -> int | None:
        """The number of the release that the unit starts."""
        try:
            name = os.readlink(self.link).rpartition("/")[2]
        except OSError:
            return None
        return int(name) if name.isdigit() else None

    def facts(self, number: int) -> dict[str, Any]:
        """What a prepared release says of itself; {} when it is not prepared."""
        try:
            return dict(json.loads((self.release(number) / RELEASE_FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}

    def configuration(self, number: int) -> str | None:
        """What tells a prepared release's configuration from another; its container carries it as a label."""
        try:
            return hashlib.sha256((self.release(number) / RELEASE_FILE).read_bytes()).hexdigest()[:CONFIGURATION_LENGTH]
        except OSError:
            return None

    def contents(self, number: int) -> dict[str, str]:
        """File name → text of a release; {} when there is none."""
        directory = self.release(number)
        if not directory.is_dir():
            return {}
        return {path.name: path.read_text(encoding="utf-8") for path in sorted(directory.iterdir()) if path.is_file()}

    def write(self, number: int, files: dict[str, str]) -> None:
        """Write a release, replacing one that said something else. A killed run leaves the old directory, or the new one, never half of it."""
        import tempfile  # with it and shutil each look at a host takes a sixth longer

        self.releases.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f".{number}-", dir=self.releases))
        for name, text in files.items():
            path = scratch / name
            path.write_text(text, encoding="utf-8")
            path.chmod(FILE_MODE)
        self.date(scratch / self.unit_name)
        scratch.chmod(DIRECTORY_MODE)
        target = self.release(number)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{number}-old-", dir=self.releases))
            target.rename(old / "release")
        scratch.rename(target)
        self.sweep()

    def date(self, unit: Path) -> None:
        """Give a unit's file the time of the current release's, when it says the same: systemd knows by it whether it has read what is there."""
        known = self.link / self.unit_name
        if unit.is_file() and known.is_file() and known.read_bytes() == unit.read_bytes():
            moment = known.stat().st_mtime_ns
            os.utime(unit, ns=(moment, moment))

    def unit_time(self) -> int | None:
        """When the unit that systemd is shown was changed; None when there is none."""
        try:
            return self.unit.stat().st_mtime_ns
        except OSError:
            return None

    def enable(self) -> None:
        """Have the host start the service when it boots, as systemctl enable does, which has systemd read all of its units again."""
        point(self.wanted, f"../{self.unit_name}")

    def disable(self) -> None:
        self.wanted.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what killed runs have left."""
        import shutil

        for path in self.releases.glob(".*"):
            shutil.rmtree(path, ignore_errors=True)

    def switch(self, number: int) -> bool:
        """Make a release the current one, atomically; returns whether anything changed."""
        changed = point(self.link, f"releases/{number}")
        return point(self.unit, str(Path("/etc/flotilla", self.service, "current", self.unit_name))) or changed

    def live_instance(self) -> str:
        """Of a service with two colours, the one that serves as far as the host knows."""
        try:
            return self.live.read_text(encoding="utf-8").strip()
        except OSError:
            return ""

    def tell_live(self, instance: str) -> None:
        """Note which colour serves, whole or not at all."""
        if self.live_instance() == instance:
            return
        self.directory.mkdir(parents=True, exist_ok=True)
        scratch = self.live.with_name(".live.new")
        scratch.write_text(f"{instance}\n", encoding="utf-8")
        scratch.chmod(FILE_MODE)
        scratch.replace(self.live)

    def surplus(self, keep: int, spared: set[int]) -> list[int]:
        """The oldest releases beyond `keep`, the spared ones never among them."""
        return [number for number in self.prepared()[:-keep] if number not in spared] if keep > 0 else []


def point(link: Path, target: str) -> bool:
    """Make a symbolic link, replacing an older one in one step; returns whether it was another one."""
    if link.is_symlink() and os.readlink(link) == target:
        return False
    link.parent.mkdir(parents=True, exist_ok=True)
    scratch = link.with_name(f".{link.name}.new")
    scratch.unlink(missing_ok=True)
    scratch.symlink_to(target)
    scratch.replace(link)
    return True


def concealed(before: dict[str, str], after: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """The files of two releases without the values of the service's environment; of those that differ it is said that they do."""

    def values(files: dict[str, str]) -> dict[str, str]:
        try:
            return {name: str(value) for name, value in (json.loads(files.get(RELEASE_FILE, "{}")).get("environment") or {}).items()}
        except ValueError:
            return {}

    old, new = values(before), values(after)
    told = {name: MASK + (" (another value)" if name in old and old[name] != value else "") for name, value in new.items()}

    def hidden(files: dict[str, str], mask: dict[str, str]) -> dict[str, str]:
        kept = dict(files)
        if "environment" in kept:
            lines = [line.partition("=") for line in kept["environment"].splitlines()]
            kept["environment"] = "".join(f"{name}{sign}{mask.get(name, value)}\n" for name, sign, value in lines)
        if mask:
            document = json.loads(kept[RELEASE_FILE])
            kept[RELEASE_FILE] = json.dumps({**document, "environment": mask}, indent=4, sort_keys=True) + "\n"
        return kept

    return hidden(before, dict.fromkeys(old, MASK)), hidden(after, told)


def difference(before: dict[str, str], after: dict[str, str], path: Path) -> list[dict[str, str]]:
    """Ansible's diff of a release's files, one entry for each file that differs, without the environment's values."""
    before, after = concealed(before, after)
    return [
        {
            "before_header": str(path / name),
            "after_header": str(path / name),
            "before": before.get(name, ""),
            "after": after.get(name, ""),
        }
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    ]
