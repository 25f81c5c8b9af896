"""Security updates are in and nothing else is, what had to be rebooted for them was, and what ran before runs again."""

import pytest

ROOT = "/flotilla/test/patch"


def debian(host):
    return host.system_info.release.split(".")[0]


def version(host, name):
    return host.check_output(f"dpkg-query --show --showformat '${{Version}}' {name}")


def packages(host, check=True, **options):
    """What the module says of the host's packages, and of each: name → (from, to)."""
    said = host.ansible("flotilla.ec2.host_packages", " ".join(f"{name}={value}" for name, value in options.items()), check=check)
    return said, {name: (one["from"], one["to"]) for name, one in said["packages"].items()}


def test_security_updates_are_in_and_each_once(host):
    updated = ["proof-settings", *(["libssl3-proof"] if debian(host) == "12" else [])]
    for name in updated:
        assert version(host, name) == "2"
        assert host.check_output(f"cat /usr/share/{name}/version") == "2"
        assert host.check_output(f"grep --count ' upgrade {name}:all ' /var/log/dpkg.log") == "1"


def test_what_is_held_and_what_is_no_security_update_is_as_it_was(host):
    assert (version(host, "proof-held"), version(host, "proof-feature")) == ("1", "1")
    assert host.check_output("apt-mark showhold") == "proof-held"


def test_settings_that_somebody_has_changed_are_kept(host):
    assert host.check_output("cat /etc/proof-settings.conf") == "as somebody wants it"


def test_the_host_was_rebooted_and_waits_for_no_other_reboot(host):
    """One for an update that everything uses, the other for what had been waiting."""
    assert not host.file("/run/prepared").exists
    assert not host.file("/run/reboot-required").exists


def test_what_ran_before_runs_again(host):
    assert host.check_output("systemctl is-active flotilla-web") == "active"
    assert "x-app-version: v1" in host.check_output("curl -sS -m 5 -o /dev/null -D - http://127.0.0.1:8080/healthz").lower()
    begun = int(host.check_output('date --date "$(systemctl show --value --property=UserspaceTimestamp)" +%s'))
    started = int(host.check_output("date --date \"$(docker inspect --format '{{.State.StartedAt}}' flotilla-web)\" +%s"))
    assert started >= begun


def test_all_updates_are_more_than_those_of_security(host):
    """Asked for, not made; what is held stays out."""
    assert packages(host, select="all")[1] == {"proof-feature": ("1", "2")}
    assert version(host, "proof-feature") == "1"


def test_the_next_update_is_seen_then_made_and_what_runs_goes_on_without_a_reboot(host):
    """No process holds what this one replaces."""
    host.check_output("/srv/packages/offer security proof-settings")
    old = version(host, "proof-settings")
    new = str(int(old) + 1)
    running = "docker inspect --format '{{.State.StartedAt}}' flotilla-web"
    before = host.check_output(running)
    planned, wanted = packages(host)
    assert planned["changed"] and wanted == {"proof-settings": (old, new)} and version(host, "proof-settings") == old
    done, made = packages(host, check=False)
    assert done["changed"] and made == wanted and version(host, "proof-settings") == new
    assert done["reboot_required"] == [] and not host.file("/run/reboot-required").exists
    assert host.check_output(running) == before


def test_the_lock_is_given_back_and_auto_scaling_goes_on(aws):
    ssm = aws("ssm")
    with pytest.raises(ssm.exceptions.ParameterNotFound):
        ssm.get_parameter(Name=f"{ROOT}/lock")
    (group,) = aws("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["patch-test-web"])["AutoScalingGroups"]
    assert group["SuspendedProcesses"] == []
