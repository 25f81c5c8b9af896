"""Machine images made of instances: an image of the machine's engine with the guest's files, and a volume with what the guest's own engine has stored.

That store is a volume in a guest, since engines cannot nest theirs; a guest of the image gets a copy of it at its first boot (images/guest/guest-init).
States and errors: "Create an Amazon EBS-backed AMI" and "Deregister an Amazon EC2 AMI" (EC2 User Guide), CreateImage, RunInstances, "Error codes" (EC2 API
Reference). The snapshot that belongs to an image is the API's alone.
"""

from __future__ import annotations

import logging
import threading
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError, InvalidAMIIdError
from moto.ec2.models.amis import Ami, AmiBackend
from moto.ec2.models.instances import InstanceBackend
from moto.ec2.responses.amis import AmisResponse
from moto.ec2.utils import random_ami_id

from .base import Plane
from .ebs import LIST

log = logging.getLogger(__name__)
STORE = "/var/lib/docker"
COPY = "/var/lib/local-cloud/image"  # where a guest finds the store of its image


class Image(Ami):
    """What CreateImage makes: its root volume is as large as the instance's, and encrypted if that is."""

    size, encrypted = 8, False

    @property
    def block_device_mappings(self) -> list[dict[str, Any]]:
        disk = {"SnapshotId": self.ebs_snapshot.id, "VolumeSize": self.size, "Encrypted": self.encrypted, "DeleteOnTermination": True, "VolumeType": "gp3"}
        return [{"DeviceName": self.root_device_name, "Ebs": disk}]


class AmiPlane(Plane):
    """See the module."""

    name = "ami"

    def __init__(self, cloud: Any) -> None:
        super().__init__(cloud)
        self.lock = threading.RLock()
        self.made: set[str] = set()  # images of which the machine's engine has something
        self.filling: set[str] = set()
        self.gone: set[str] = set()  # those of them that are deregistered; what guests still use stays until they end

    # ---- the API's side

    def install(self) -> None:
        plane = self
        run, deregister = InstanceBackend.run_instances, AmiBackend.deregister_image

        def create_image(self: Any) -> ActionResult:
            self.error_on_dryrun()
            tags = {one["ResourceType"]: {tag["Key"]: tag["Value"] for tag in one["Tags"]} for one in self._get_param("TagSpecifications", [])}
            restart = not self._get_bool_param("NoReboot", False)
            made = plane.create(self._get_param("InstanceId"), self._get_param("Name"), self._get_param("Description", ""), tags, restart)
            return ActionResult({"ImageId": made.id})

        def running(self: Any, image_id: str, *args: Any, **options: Any) -> Any:
            template = options.get("launch_template")
            wanted = image_id or (self._get_template_from_args(template).image_id if template else "")
            image = self.amis.get(wanted)
            if wanted and image is None:
                raise InvalidAMIIdError(wanted)
            if image and image.state != "available":
                raise EC2ClientError("InvalidAMIID.Unavailable", f"The image ID '{wanted}' is not available")
            return run(self, image_id, *args, **options)

        def deregistering(self: Any, ami_id: str) -> None:
            deregister(self, ami_id)
            if ami_id in plane.made:
                plane.gone.add(ami_id)
                threading.Thread(target=plane.sweep, daemon=True, name=f"ami {ami_id}").start()

        AmisResponse.create_image = create_image  # type: ignore[method-assign]
        InstanceBackend.run_instances = running  # type: ignore[method-assign]
        AmiBackend.deregister_image = deregistering  # type: ignore[method-assign]

    def create(self, instance_id: str, name: str, description: str, tags: dict[str, dict[str, str]], restart: bool) -> Any:
        """CreateImage: `pending`, and `available` once the guest's files are an image."""
        backend = self.cloud.backend("ec2")
        instance = backend.get_instance(instance_id)
        if instance.state not in ("running", "stopped"):
            raise EC2ClientError("IncorrectInstanceState", f"Instance {instance_id} is not in state 'running' or 'stopped'.")
        other = next((one.id for one in backend.amis.values() if one.name == name and one.owner_id == backend.account_id), None)
        if other:
            raise EC2ClientError("InvalidAMIName.Duplicate", f"AMI name {name} is already in use by AMI {other}")
        source = backend.amis.get(instance.image_id)
        image = Image(
            backend,
            random_ami_id(),
            instance=instance,
            name=name,
            description=description,
            virtualization_type="hvm",
            architecture="x86_64",
            state="pending",
            image_location=f"{backend.account_id}/{name}",
            hypervisor="xen",
            root_device_type="ebs",
            root_device_name=source.root_device_name if source else "/dev/xvda",
            region_name=f"{self.cloud.settings.region}a",
            snapshot_description=f"Created by CreateImage({instance_id})",
            tags=tags.get("image", {}),
        )
        disk = instance.block_device_mapping.get(image.root_device_name)
        volume = backend.volumes.get(disk.volume_id) if disk else None
        if volume is not None:
            image.size, image.encrypted = int(volume.size), bool(volume.encrypted)
        image.ebs_snapshot.volume.size = image.size
        image.ebs_snapshot.add_tags(tags.get("snapshot", {}))
        backend.amis[image.id] = image
        self.made.add(image.id)
        self.filling.add(image.id)
        threading.Thread(target=self.fill, args=(image, instance, restart), daemon=True, name=f"ami {image.id}").start()
        return image

    def fill(self, image: Any, instance: Any, restart: bool) -> None:
        """ "By default, when Amazon EC2 creates the new AMI, it reboots the instance so that it can take snapshots"; the API says `running` meanwhile."""
        engine, guest, ec2 = self.cloud.engine, self.cloud.container_name(instance.id), self.cloud.planes["ec2"]
        running = instance.state == "running"
        try:
            if running:  # it stands still meanwhile, and nobody shall take it for lost
                with ec2.lock:  # type: ignore[attr-defined]
                    ec2.busy.add(instance.id)  # type: ignore[attr-defined]
            if running and restart:
                engine.stop(guest, 20)
            engine.commit(guest, self.tag(image.id))
            engine.copy_out(guest, STORE, engine.volume(self.tag(image.id)), self.cloud.image("edge"))
            image.state = "available"
            log.info("image %s is made of %s", image.id, instance.id)
        except Exception:
            log.exception("image %s", image.id)
            image.state = "failed"
        finally:
            if running and restart:
                engine.start(guest)
            if running:
                with ec2.lock:  # type: ignore[attr-defined]
                    ec2.busy.discard(instance.id)  # type: ignore[attr-defined]
            self.filling.discard(image.id)
            if image.id in self.gone:  # deregistered meanwhile
                self.sweep()

    # ---- guests

    def tag(self, image: str) -> str:
        """How the machine's engine names an image's files, and its store."""
        return str(self.cloud.container_name(image))

    def of(self, image: str, default: str) -> tuple[str, dict[str, str], dict[str, bytes]]:
        """What a guest of an image is made of: the engine's image, further volumes, further files. It has none of the volumes of the image's own guest."""
        if image not in self.made:
            return str(self.cloud.image(default)), {}, {}
        return self.tag(image), {self.tag(image): f"{COPY}:ro"}, {LIST: b""}

    def sweep(self) -> None:
        """Remove what is left of deregistered images that no guest is made of."""
        with self.lock:
            guests = self.cloud.planes["vpc"].instances()  # type: ignore[attr-defined]
            used = {one.image_id for one in guests if one.state not in ("shutting-down", "terminated")}
            for image in self.gone - used - self.filling:
                try:
                    self.cloud.engine.remove_image(self.tag(image))
                    self.cloud.engine.remove_volume(self.tag(image))
                except Exception as error:  # a guest of it is about to end: once more then
                    log.info("image %s stays for now: %s", image, error)
                    continue
                self.gone.discard(image)
                self.made.discard(image)

    def status(self) -> list[dict[str, str]]:
        known = self.cloud.backend("ec2").amis
        return [{"kind": "image", "name": one.id, "state": one.state, "address": "", "url": one.name or ""} for one in known.values() if isinstance(one, Image)]
