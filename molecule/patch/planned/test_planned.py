"""What the plan of a patch has left of itself on a host: nothing."""


def test_no_package_is_another(host):
    shown = host.check_output("dpkg-query --show --showformat '${Package} ${Version}\n' '*proof*'").splitlines()
    assert len(shown) >= 3 and {line.split()[1] for line in shown} == {"1"}, shown


def test_the_lists_of_packages_are_as_they_were(host):
    """The new sources have been read, but into a place that is gone again."""
    assert host.check_output("find /var/lib/apt/lists -name '*srv_packages*'") == ""
    assert host.check_output("find /tmp /var/tmp -name 'flotilla-apt-*'") == ""


def test_there_was_no_reboot(host):
    assert host.file("/run/prepared").exists
    assert host.file("/run/reboot-required").exists == (host.system_info.release.split(".")[0] == "13")
