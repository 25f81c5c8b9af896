"""What a data plane is to the cloud."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..cloud import Cloud


class Plane:
    """The part of the cloud behind one AWS service. `install` patches moto once, before it serves; `start` and `stop` own threads and containers."""

    name = ""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud

    def install(self) -> None:
        """Patch moto's backends."""

    def start(self) -> None:
        """Start threads and containers."""

    def stop(self) -> None:
        """End the threads; containers are removed by label."""

    def status(self) -> list[dict[str, str]]:
        """Rows for `status`: kind, name, state, address, url."""
        return []
