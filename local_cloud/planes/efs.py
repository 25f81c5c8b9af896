"""EFS: directories of one docker volume that every guest has, which `/sbin/mount.efs` of the guests' image binds to where they are mounted.

What a file is on one guest it is on all others at once. The helper asks `mount` here whether the file system may be mounted, and fails as
amazon-efs-utils does: without a mount target in the guest's zone, when its security groups keep the guest out, with an access point that is not there.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from moto.efs import models

from .base import Plane

log = logging.getLogger(__name__)
PATH = "/var/lib/local-cloud/efs"
NFS = 2049


class EfsPlane(Plane):
    """See the module."""

    name = "efs"

    def install(self) -> None:
        """Patch moto: the contents of a deleted file system go."""
        plane, delete = self, models.EFSBackend.delete_file_system

        def deleting(self: Any, file_system_id: str) -> None:
            delete(self, file_system_id)
            remove = ["rm", "-rf", f"./{file_system_id}"]
            act = (plane.cloud.container_name("efs"), plane.cloud.image("edge"), remove)
            threading.Thread(target=plane.cloud.engine.in_volume, args=act, daemon=True, name=f"efs {file_system_id}").start()

        models.EFSBackend.delete_file_system = deleting

    def volumes(self) -> dict[str, str]:
        """What a guest gets: volume → path."""
        return {self.cloud.engine.volume(self.cloud.container_name("efs")): PATH}

    def mount(self, instance: Any, file_system: str = "", access_point: str = "") -> tuple[int, str]:
        """Whether an instance may mount: (status, answer for mount.efs).

        200: root directory, owner as uid:gid and permissions (- where it is not made); else exit code and message, those of amazon-efs-utils and
        mount.nfs4 (EFS User Guide, "Troubleshooting mount issues").
        """
        backend = self.cloud.backend("efs")
        zone, vpc = instance.availability_zone, instance.vpc_id
        targets = [one for one in backend.mount_targets_by_id.values() if one.file_system_id == file_system and one.vpc_id == vpc]
        target = next((one for one in targets if one.availability_zone_name == zone), None)
        if file_system not in backend.file_systems_by_id or target is None:
            name = f"{file_system}.efs.{self.cloud.settings.region}.amazonaws.com"
            text = f'1 Failed to resolve "{name}" - check that your file system ID is correct, and ensure that the VPC has an EFS mount target for this file'
            return 404, f"{text} system ID (in Availability Zone {zone})."
        firewall = self.cloud.planes["security_groups"]
        if not firewall.lets_in(list(target.security_groups or []), instance.private_ip, NFS):  # type: ignore[attr-defined]
            log.info("mount target %s lets %s not in on port %s", target.mount_target_id, instance.id, NFS)
            return 403, "32 mount.nfs4: Connection timed out"
        if not access_point:
            return 200, "/ - -"
        known = backend.access_points.get(access_point)
        if known is None or known.file_system_id != file_system:
            return 403, "32 mount.nfs4: access denied by server while mounting 127.0.0.1:/"
        root = "/" + str((known.root_directory or {}).get("Path") or "/").strip("/")
        made = (known.root_directory or {}).get("CreationInfo")
        if not made:
            return 200, f"{root} - -"
        return 200, f"{root} {made['OwnerUid']}:{made['OwnerGid']} {made['Permissions']}"

    def status(self) -> list[dict[str, str]]:
        """One line per file system: the zones in which it can be mounted."""
        rows = []
        for one in list(self.cloud.backend("efs").file_systems_by_id.values()):
            facts = one.info_json()
            zones = sorted(target.availability_zone_name for target in one.iter_mount_targets())
            rows.append({"kind": "file system", "name": one.file_system_id, "state": facts["LifeCycleState"], "address": " ".join(zones), "url": facts["Name"]})
        return rows
