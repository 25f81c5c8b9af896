"""What the role leaves on a host."""


def test_the_helper_can_ask_aws_with_the_hosts_role(host):
    assert host.file("/usr/local/lib/flotilla/host.py").mode == 0o755
    login = host.run("/usr/local/lib/flotilla/host.py registry-login 123456789012.dkr.ecr.eu-central-1.amazonaws.com")
    assert login.rc == 0, login.stderr
    configuration = host.file("/run/flotilla/docker/config.json")
    assert configuration.mode == 0o400
    assert configuration.user == "root"
    host.check_output("rm -r /run/flotilla/docker")


def test_settings(host):
    assert "AWS_REGION=eu-central-1" in host.file("/etc/flotilla/aws.env").content_string.splitlines()
    assert "FLOTILLA_HOST=molecule-host-baseline-" in host.file("/etc/flotilla/host.env").content_string


def test_the_networks_settings_hold(host):
    assert host.sysctl("net.ipv4.tcp_slow_start_after_idle") == 0


def test_certificates_can_be_read_by_any_container(host):
    certificate = host.file("/etc/flotilla/web/certificates/database.pem")
    assert certificate.mode == 0o644
    assert certificate.contains("BEGIN CERTIFICATE")


def test_the_journal_is_bounded_and_running(host):
    assert "SystemMaxUse=200M" in host.check_output("systemd-analyze cat-config systemd/journald.conf")
    assert host.service("systemd-journald").is_running
