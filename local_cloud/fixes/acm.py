"""Where moto's ACM differs from AWS."""

from __future__ import annotations

from typing import Any

from moto.acm import models
from moto.core.exceptions import ServiceException
from moto.elbv2.models import elbv2_backends


class ResourceInUse(ServiceException):
    """DeleteCertificate: the certificate is in use by another AWS service."""

    code = "ResourceInUseException"


def used_by(arn: str) -> list[str]:
    """The ARNs of the load balancers with a listener that holds this certificate."""
    region, account = arn.split(":")[3:5]
    balancers = list(elbv2_backends[account][region].load_balancers.values())
    return [one.arn for one in balancers if any(arn in listener.certificates for listener in list(one.listeners.values()))]


def apply() -> None:
    """Correct moto, once, before it serves."""
    original = models.CertBundle.__init__

    def init(self: Any, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        # The chain of an imported certificate is exactly what was imported; moto adds a root of Amazon's, and acm_certificate compares chains.
        if self.type == "IMPORTED":
            self.chain = options.get("chain") or (args[3] if len(args) > 3 else None) or b""

    models.CertBundle.__init__ = init

    # InUseBy is true to the listeners of now; moto only ever appends to it.
    models.CertBundle.in_use_by = property(lambda self: used_by(self.arn), lambda self, value: None)
    delete = models.AWSCertificateManagerBackend.delete_certificate

    def delete_certificate(self: Any, arn: str) -> None:
        if arn in self._certificates and used_by(arn):
            raise ResourceInUse(f"Certificate {arn} in account {self.account_id} is in use.")
        delete(self, arn)

    models.AWSCertificateManagerBackend.delete_certificate = delete_certificate
