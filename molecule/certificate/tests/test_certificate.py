"""A certificate for the environment's domain, good for a year, its key in ACM only."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec


@pytest.fixture(scope="module")
def arn(aws, tags):
    acm = aws("acm")
    found = []
    for one in acm.list_certificates(Includes={"keyTypes": ["EC_prime256v1", "RSA_2048"]})["CertificateSummaryList"]:
        worn = {tag["Key"]: tag["Value"] for tag in acm.list_tags_for_certificate(CertificateArn=one["CertificateArn"])["Tags"]}
        if worn == {**tags, "Name": "certificate-test"}:
            found.append(one["CertificateArn"])
    assert len(found) == 1, found
    return found[0]


def test_it_stands_for_the_domain_for_a_year(aws, arn):
    certificate = x509.load_pem_x509_certificate(aws("acm").get_certificate(CertificateArn=arn)["Certificate"].encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["molecule.flotilla.test"]
    assert isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
    assert timedelta(days=360) < certificate.not_valid_after_utc - datetime.now(UTC) < timedelta(days=366)


def test_acm_calls_it_imported(aws, arn):
    seen = aws("acm").describe_certificate(CertificateArn=arn)["Certificate"]
    assert (seen["Type"], seen["DomainName"]) == ("IMPORTED", "molecule.flotilla.test")
