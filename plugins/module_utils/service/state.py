# Copyright: Contributors to the Flotilla project
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
"""What a service does on a host now, from what docker and systemd say of it. Pure functions."""

from __future__ import annotations

from typing import Any

LABEL_RELEASE = "flotilla.release"
LABEL_DIGEST = "flotilla.digest"
LABEL_CONFIGURATION = "flotilla.configuration"


def described(container: dict[str, Any] | None, unit: dict[str, str] | None, prepared: list[int]) -> dict[str, Any]:
    """A service as C(service_info) returns it. Release and digest are those of the running container, not of the files beside it."""
    running = bool(container and container.get("State", {}).get("Running"))
    labels = ((container or {}).get("Config", {}).get("Labels") or {}) if running else {}
    number = labels.get(LABEL_RELEASE, "")
    return {
        "release": int(number) if number.isdigit() else None,
        "digest": labels.get(LABEL_DIGEST) or None,
        "running": running,
        "unit": (unit or {}).get("ActiveState") or "inactive",
        "container_id": container["Id"] if running and container else None,
        "started_at": container["State"].get("StartedAt") if running and container else None,
        "prepared": prepared,
    }


def configured(container: dict[str, Any] | None) -> str | None:
    """The configuration that a running container was made with."""
    if not (container and container.get("State", {}).get("Running")):
        return None
    return (container.get("Config", {}).get("Labels") or {}).get(LABEL_CONFIGURATION)


def settled(container: dict[str, Any] | None, unit: dict[str, str] | None, configuration: str | None, enabled: bool, retiring: bool) -> bool:
    """Whether what runs is just what a restart of it or of the host would start, and nobody is about to stop it."""
    wanted = configuration is not None and configured(container) == configuration
    return wanted and (unit or {}).get("ActiveState") == "active" and enabled and not retiring


def exit_reason(container: dict[str, Any] | None) -> str:
    """How a container ended, as part of a sentence; empty while it runs or when there is none."""
    state = (container or {}).get("State") or {}
    if not state or state.get("Running") or state.get("Status") == "created":
        return ""
    if state.get("OOMKilled"):
        return "was killed because it used more memory than its limit"
    return f"exited with code {state.get('ExitCode')}" + (f" ({state['Error']})" if state.get("Error") else "")
