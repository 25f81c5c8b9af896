"""EBS: volumes are files in one docker volume that every guest has; attached, such a file is a loop device of the guest under its Nitro name.

The guest keeps the device open (`images/guest/guest-volumes`) and has it detached "lazily": however the guest ends, also killed, the kernel frees the
device with it, and nothing is left behind on the machine. At its start a guest attaches again what /etc/local-cloud/volumes lists.

States and errors are those of "Attach an Amazon EBS volume to an Amazon EC2 instance" and of the EC2 API reference (AttachVolume, DetachVolume,
"Error codes"). Volumes that are made with an instance (its root) are the API's alone.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Any

from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.elastic_block_store import EBSBackend

from ..engine import loop_devices
from .base import Plane

log = logging.getLogger(__name__)
PATH = "/var/lib/local-cloud/volumes"
LIST = "/etc/local-cloud/volumes"
BUSY_SECONDS = 5  # after which a detachment that is not over is shown as busy


class EbsPlane(Plane):
    """See the module."""

    name = "ebs"
    devices = ("b 7:* rmw", "c 10:237 rmw")  # loop devices and loop-control

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.stopping = threading.Event()
        self.names: dict[str, str] = {}  # attached volume → device name in its guest
        self.written: set[str] = set()  # volumes that may have a file
        self.leaving: dict[str, float] = {}  # volume that is being detached → since when

    # ---- the API's side

    def install(self) -> None:
        """Patch moto: attachments have devices."""
        plane = self
        attach, detach, delete, modify = EBSBackend.attach_volume, EBSBackend.detach_volume, EBSBackend.delete_volume, EBSBackend.modify_volume

        def attaching(self: Any, volume_id: str, instance_id: str, device_path: str, *launched: Any) -> Any:
            if launched:  # the volumes that an instance is made with
                return attach(self, volume_id, instance_id, device_path, *launched)
            with plane.lock:
                plane.check(self.get_volume(volume_id), self.get_instance(instance_id), device_path)
                attachment = attach(self, volume_id, instance_id, device_path)
                try:
                    plane.attach(attachment)
                except Exception:
                    plane.names.pop(volume_id, None)
                    detach(self, volume_id, instance_id, device_path)
                    raise
                return attachment

        def detaching(self: Any, volume_id: str, instance_id: str | None, device_path: str | None) -> Any:
            volume = self.get_volume(volume_id)
            attachment = volume.attachment
            if attachment is None:
                raise EC2ClientError("IncorrectState", f"Volume '{volume_id}' is in the 'available' state.")
            if volume_id not in plane.names:
                return detach(self, volume_id, instance_id or attachment.instance.id, device_path)
            if instance_id not in (None, "", attachment.instance.id) or device_path not in (None, "", attachment.device):
                text = f"The volume {volume_id} is not attached to instance {instance_id} as device {device_path or attachment.device}"
                raise EC2ClientError("InvalidAttachment.NotFound", text)
            with plane.lock:
                if volume_id not in plane.leaving:
                    plane.leave(attachment)
                plane.step()
            if volume.attachment is None:
                attachment.status = "detaching"  # the answer to DetachVolume
            return attachment

        def deleting(self: Any, volume_id: str) -> Any:
            volume = delete(self, volume_id)
            if volume_id not in plane.written:  # never attached: it has no file
                return volume
            plane.written.discard(volume_id)
            act = (plane.cloud.container_name("ebs"), plane.cloud.image("edge"), ["rm", "-f", plane.file(volume_id)])
            threading.Thread(target=plane.cloud.engine.in_volume, args=act, daemon=True, name=f"ebs {volume_id}").start()
            return volume

        def modifying(self: Any, volume_id: str, target_size: int | None = None, *args: Any, **options: Any) -> Any:
            before = self.get_volume(volume_id)
            if target_size and int(target_size) < int(before.size):
                text = f"New size cannot be smaller than existing size: {before.size} GiB"
                raise EC2ClientError("InvalidParameterValue", text)
            volume = modify(self, volume_id, target_size, *args, **options)
            if target_size and volume_id in plane.names:
                plane.tell(volume.attachment.instance, "grow", plane.file(volume_id), str(target_size))
                plane.write(volume.attachment.instance)
            return volume

        EBSBackend.attach_volume, EBSBackend.detach_volume, EBSBackend.delete_volume, EBSBackend.modify_volume = attaching, detaching, deleting, modifying
        self.released = detach

    def volumes(self) -> dict[str, str]:
        """What a guest gets: volume → path."""
        return {self.cloud.engine.volume(self.cloud.container_name("ebs")): PATH}

    def file(self, volume_id: str) -> str:
        """The file's name, by which the kernel's list of loop devices tells whose it is."""
        return self.cloud.container_name(volume_id)

    def check(self, volume: Any, instance: Any, device: str) -> None:
        """What AttachVolume refuses."""
        if volume.attachment is not None:
            raise EC2ClientError("VolumeInUse", f"{volume.id} is already attached to an instance")
        if instance.state not in ("running", "stopped"):
            raise EC2ClientError("IncorrectState", f"Instance '{instance.id}' is not 'running'.")
        if volume.availability_zone != instance.availability_zone:
            text = f"The volume '{volume.id}' is not in the same availability zone as instance '{instance.id}'"
            raise EC2ClientError("InvalidVolume.ZoneMismatch", text)
        if device in instance.block_device_mapping:
            text = f"Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
            raise EC2ClientError("InvalidParameterValue", text)

    # ---- guests

    def of(self, instance: Any) -> list[Any]:
        """The volumes attached to an instance, in the order of their devices."""
        known = self.cloud.backend("ec2").volumes
        mine = [known[one] for one in self.names if one in known and known[one].attachment and known[one].attachment.instance.id == instance.id]
        return sorted((one for one in mine if one.id not in self.leaving), key=lambda one: self.names[one.id])

    def attach(self, attachment: Any) -> None:
        """Give a guest the device. RuntimeError with the reason when its machine cannot."""
        instance, volume = attachment.instance, attachment.volume
        taken = {self.names[one.id] for one in self.of(instance)}
        device = next(name for number in range(1, 27) if (name := f"nvme{number}n1") not in taken)  # nvme0n1 is the root
        self.names[volume.id] = device
        self.written.add(volume.id)
        if instance.state == "running":
            code, output = self.tell(instance, "attach", self.file(volume.id), str(volume.size), device)
            if code != 0:
                raise RuntimeError(f"volume {volume.id} cannot be attached to {instance.id}: {output.strip()}")
        self.write(instance)
        log.info("volume %s is %s of %s", volume.id, device, instance.id)

    def write(self, instance: Any) -> None:
        """What the guest attaches at its next start."""
        lines = [f"{self.file(one.id)} {one.size} {self.names[one.id]}\n" for one in self.of(instance)]
        self.cloud.engine.put(self.cloud.container_name(instance.id), {LIST: "".join(lines).encode()})

    def tell(self, instance: Any, *arguments: str) -> tuple[int, str]:
        code, output = self.cloud.engine.exec(self.cloud.container_name(instance.id), ["guest-volumes", *arguments])
        return int(code), str(output)

    def leave(self, attachment: Any) -> None:
        """Begin a detachment."""
        instance, volume = attachment.instance, attachment.volume
        attachment.status = "detaching"
        self.leaving[volume.id] = time.monotonic()
        if instance.state in ("running", "stopped", "stopping"):
            self.write(instance)
        if instance.state == "running":
            self.tell(instance, "detach", self.file(volume.id))

    def step(self) -> None:
        """Release what no guest has any more: "If the volume is mounted, the detachment stays in the busy state" until it is unmounted."""
        backend = self.cloud.backend("ec2")
        with self.lock:
            for identifier in [one for one in self.names if one not in self.leaving]:
                volume = backend.volumes.get(identifier)
                if volume is not None and volume.attachment and volume.attachment.instance.state == "terminated":
                    self.leave(volume.attachment)
            for identifier, since in list(self.leaving.items()):
                volume = backend.volumes.get(identifier)
                attachment = volume.attachment if volume else None
                guest = attachment.instance if attachment is not None else None
                if guest and guest.state in ("shutting-down", "terminated") and self.cloud.engine.exists(self.cloud.container_name(guest.id)):
                    continue
                if loop_devices(self.file(identifier)):
                    if attachment is not None and time.monotonic() - since > BUSY_SECONDS:
                        attachment.status = "busy"
                    continue
                if attachment is not None:
                    self.released(backend, identifier, attachment.instance.id, attachment.device)
                self.names.pop(identifier, None)
                del self.leaving[identifier]

    # ---- the thread

    def start(self) -> None:
        self.stopping.clear()
        threading.Thread(target=self._run, daemon=True, name="ebs").start()

    def stop(self) -> None:
        self.stopping.set()

    def _run(self) -> None:
        while not self.stopping.wait(0.5):
            try:
                self.step()
            except Exception:
                log.exception("volumes")

    def status(self) -> list[dict[str, str]]:
        """One line per volume that was made by itself: where it is attached, or its zone."""
        rows = []
        for one in list(self.cloud.backend("ec2").volumes.values()):
            if one.attachment is not None and one.id not in self.names:
                continue
            state = one.attachment.status if one.attachment else one.status
            where = f"{one.attachment.instance.id} {self.names[one.id]}" if one.attachment else ""
            rows.append({"kind": "volume", "name": one.id, "state": state, "address": where, "url": f"{one.size} GiB {one.availability_zone}"})
        return rows
