"""A load balancer that answers http with a redirect, https with the stack's certificate, and takes health and drain time from the stack."""

import pytest
from cryptography import x509


@pytest.fixture(scope="module")
def elbv2(aws):
    return aws("elbv2")


@pytest.fixture(scope="module")
def balancer(elbv2):
    (found,) = elbv2.describe_load_balancers(Names=["load-balancer-test"])["LoadBalancers"]
    return found


@pytest.fixture(scope="module")
def listeners(elbv2, balancer):
    return {one["Port"]: one for one in elbv2.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]}


@pytest.fixture(scope="module")
def group(elbv2):
    (found,) = elbv2.describe_target_groups(Names=["load-balancer-test-web"])["TargetGroups"]
    return found


def test_it_faces_the_internet_in_two_zones(elbv2, balancer, tags):
    assert (balancer["Scheme"], balancer["Type"]) == ("internet-facing", "application")
    assert {zone["ZoneName"] for zone in balancer["AvailabilityZones"]} == {"eu-central-1a", "eu-central-1b"}
    (worn,) = elbv2.describe_tags(ResourceArns=[balancer["LoadBalancerArn"]])["TagDescriptions"]
    assert {tag["Key"]: tag["Value"] for tag in worn["Tags"]} == tags
    attributes = elbv2.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])["Attributes"]
    assert {one["Key"]: one["Value"] for one in attributes}["routing.http.drop_invalid_header_fields.enabled"] == "true"


def test_http_is_sent_on_to_https_for_good(listeners):
    assert set(listeners) == {80, 443}
    (action,) = listeners[80]["DefaultActions"]
    assert action["Type"] == "redirect"
    assert {key: action["RedirectConfig"][key] for key in ("Protocol", "Port", "StatusCode")} == {
        "Protocol": "HTTPS",
        "Port": "443",
        "StatusCode": "HTTP_301",
    }


def test_https_speaks_modern_tls_with_the_stacks_certificate(aws, listeners, group):
    listener = listeners[443]
    assert listener["SslPolicy"] == "ELBSecurityPolicy-TLS13-1-2-2021-06"
    (worn,) = listener["Certificates"]
    assert aws("acm").describe_certificate(CertificateArn=worn["CertificateArn"])["Certificate"]["DomainName"] == "molecule.flotilla.test"
    assert listener["DefaultActions"][0]["TargetGroupArn"] == group["TargetGroupArn"]


def test_health_and_drain_time_are_the_stacks(elbv2, group):
    assert (group["Protocol"], group["Port"], group["TargetType"]) == ("HTTP", 8080, "instance")
    assert (group["HealthCheckPath"], group["HealthCheckIntervalSeconds"], group["HealthCheckTimeoutSeconds"]) == ("/healthz", 6, 3)
    answer = elbv2.describe_target_group_attributes(TargetGroupArn=group["TargetGroupArn"])["Attributes"]
    attributes = {one["Key"]: one["Value"] for one in answer}
    assert attributes["deregistration_delay.timeout_seconds"] == "7"
    assert attributes["stickiness.enabled"] == "false"


def test_a_client_sees_just_that(host, balancer):
    """Asked from a host of the VPC: 301 with the same path and query, then the certificate; 503 as long as there is no target."""
    name = balancer["DNSName"]
    seen = host.check_output(f"curl -sS -m 10 -o /dev/null -w '%{{http_code}} %{{redirect_url}}' 'http://{name}/a/b?c=d'")
    code, where = seen.split()
    assert code == "301"
    assert where in (f"https://{name}/a/b?c=d", f"https://{name}:443/a/b?c=d")
    assert host.check_output(f"curl -ksS -m 10 -o /dev/null -w '%{{http_code}}' https://{name}/") == "503"
    shown = host.check_output(f"openssl s_client -connect {name}:443 -servername molecule.flotilla.test </dev/null 2>/dev/null | openssl x509")
    certificate = x509.load_pem_x509_certificate(shown.encode())
    assert certificate.subject.rfc4514_string() == "CN=molecule.flotilla.test"
