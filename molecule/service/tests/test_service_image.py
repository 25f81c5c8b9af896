"""A host becomes an image, by what its peer has: everything to serve is kept, and nothing of a machine or a person.

The peer is the service's host. What becomes an image is a host that has the base only; nobody can log in to it afterwards, so that all of it is seen in one go.
"""

import json
import os
from pathlib import Path

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.release import boot

BECOMES = "molecule-host-baseline-{}"  # of the same Debian
POINTER = "/flotilla/test/service/services/web/release"
SERVICES = [{"name": "web", "pointer": POINTER, "instances": {"": "web"}, "probe": "http", "path": "/healthz"}]
# What people and programs leave on a machine; the words are looked for in all its files.
TRACES = {
    "/root/.bash_history": "mysql --password=of-a-person",
    "/root/.docker/config.json": '{"auths": {"registry": {"auth": "of-a-person"}}}',
    "/home/admin/.bash_history": "curl --user ann:of-a-person",
    "/var/log/apt/of-a-person.log": "of-a-person",
    "/var/lib/cloud/of-a-person": "of-a-person",
    "/tmp/of-a-person": "of-a-person",
}
LOOK = r"""
import glob, json, shutil, subprocess

def run(command):
    return subprocess.run(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout.split()

def helper(verb):
    done = subprocess.run(["python3", "/run/bundle/root/usr/local/lib/flotilla/host.py", verb, "/run/bundle", "90"], stderr=subprocess.PIPE, text=True)
    return {"code": done.returncode, "said": done.stderr}

def look():
    return {
        "machine id": open("/etc/machine-id").read(),
        "host keys": glob.glob("/etc/ssh/ssh_host_*"),
        "authorized keys": glob.glob("/home/*/.ssh/authorized_keys") + glob.glob("/root/.ssh/*"),
        "accounts": run("getent passwd ann"),
        "cloud-init": glob.glob("/var/lib/cloud/*"),
        "logs": run("find /var/log -type f"),
        "files of a host": run("find / -xdev -path /proc -prune -o -path /run -prune -o -iname '*flotilla*' -print"),
        "containers": glob.glob("/var/lib/docker/containers/*"),
        "traces": run("grep -rl of-a-[p]erson /etc /home /opt /root /srv /tmp /usr/local /var"),
        "images": glob.glob("/var/lib/docker/image/overlay2/imagedb/content/sha256/*"),
        "engine": [name for name in ("containerd", "docker", "dockerd") if shutil.which(name)],
        "engine runs": run("systemctl is-active docker") == ["active"],
    }
"""


@pytest.fixture(scope="module")
def other(host):
    """The host that becomes an image, with the bundle of its peer, and what is left on a machine that was used."""
    inventory = str(Path(os.environ["MOLECULE_PROJECT_DIRECTORY"]) / "molecule" / "inventory")
    becomes = BECOMES.format(host.system_info.release.split(".")[0])
    return host.get_host(f"ansible://{becomes}", ansible_inventory=inventory, ssh_config=host.backend.ssh_config)


@pytest.fixture(scope="module")
def seen(host, other, aws, tmp_path_factory):
    """{early, before, bake, baked, prove, proved}: what the helper said, and what was on the host around it."""
    packed = tmp_path_factory.mktemp("bundle") / "boot.tar.gz"
    packed.write_bytes(boot.packed(host.ansible("flotilla.ec2.boot_files_info")["boot"], "web", SERVICES))
    put = "import pathlib, sys, json\nfor name, text in json.loads(sys.argv[1]).items():\n path = pathlib.Path(name)\n"
    put += " path.parent.mkdir(parents=True, exist_ok=True)\n path.write_text(text)\n"
    assert other.run("python3 -c %s %s", put, json.dumps(TRACES)).rc == 0
    other.ansible("ansible.builtin.file", "path=/run/bundle state=directory mode=0700", check=False)
    other.ansible("ansible.builtin.unarchive", f"src={packed} dest=/run/bundle", check=False)
    seen = {}
    bake, prove = "{'bake': helper('bake'), 'baked': look(), ", "'prove': helper('prove'), 'proved': look()}"
    for number, steps in ((3, "{'early': helper('bake'), 'before': look()}"), (2, bake + prove)):
        aws("ssm").put_parameter(Name=POINTER, Value=json.dumps({"number": number}), Type="String", Overwrite=True)
        done = other.run("python3 -c %s", f"{LOOK}\nprint(json.dumps({steps}))")
        assert done.rc == 0, done.stderr
        seen.update(json.loads(done.stdout.splitlines()[-1]))
    return seen


def test_a_release_that_the_bundle_lacks_makes_no_image_and_nothing_is_forgotten(seen):
    assert seen["early"]["code"] == 75 and "a newer one is fetched" in seen["early"]["said"]
    before = seen["before"]
    assert all(before[name] for name in ("machine id", "host keys", "authorized keys", "accounts", "cloud-init", "logs", "files of a host", "traces")), before


def test_nothing_of_a_machine_or_a_person_is_left(seen):
    assert seen["bake"]["code"] == 0, seen["bake"]["said"]
    kept = ("images", "engine")
    assert {name: what for name, what in seen["baked"].items() if what and name not in kept} == {}


def test_the_engine_and_the_images_of_all_releases_are_kept(seen):
    assert len(seen["baked"]["images"]) == 2, "the current release's, and that of the release before"
    assert seen["baked"]["engine"] == ["containerd", "docker", "dockerd"]


def test_what_is_left_makes_a_host_without_the_registry(seen):
    """Files, accounts, engine and image, and nothing is started."""
    assert seen["prove"]["code"] == 0, seen["prove"]["said"]
    assert "has the image of web" in seen["prove"]["said"] and "installing" not in seen["prove"]["said"]
    proved = seen["proved"]
    assert proved["engine runs"] and proved["images"] == seen["baked"]["images"] and proved["containers"] == []
    assert "/etc/systemd/system/flotilla-web.service" not in proved["files of a host"]
    assert "/etc/flotilla" in proved["files of a host"] and any("ann" in word for word in proved["accounts"])
