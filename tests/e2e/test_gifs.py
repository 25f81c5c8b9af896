"""gifs: an API whose readiness needs its database, and websockets through the load balancer.

The tests run in the order of this file: each finds the system that the one before has left serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from typing import Any

import aiohttp
import pytest
import requests

from tests.e2e.system import System, say, wait_for

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="session")
def released(system: System) -> System:
    """Provisioned, configured and on release 1."""
    system.first = system.up()
    system.healthy()
    return system


def secret(system: System) -> str:
    return str(system.client("secretsmanager").get_secret_value(SecretId="flotilla/local/gifs/upload_secret")["SecretString"])


def post(system: System, top: str, **more: str) -> requests.Response:
    form = {"url": "https://example.org/a.gif", "who": "e2e", "meme_top": top, "meme_bottom": "", "secret": secret(system), **more}
    return requests.post(system.https + "/gif", data=form, verify=False, timeout=10)


class Listener:
    """A page that somebody has open: a websocket that comes back by itself when it is closed. Runs in a thread of its own."""

    def __init__(self, system: System) -> None:
        self.url = system.https + "/"
        self.heard: list[str] = []
        self.hosts: list[str] = []
        self.gaps: list[float] = []
        self.changed = time.monotonic()  # when it was last connected or heard something
        self.connected = threading.Event()
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_until_complete, args=(self.listen(),), daemon=True)

    async def listen(self) -> None:
        lost: float | None = None
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    async with session.ws_connect(self.url, timeout=aiohttp.ClientWSTimeout(ws_close=1)) as socket:
                        if lost is not None:
                            self.gaps.append(time.monotonic() - lost)
                        self.hosts.append(socket._response.headers["X-App-Host"])
                        self.changed = time.monotonic()
                        self.connected.set()
                        async for message in socket:
                            self.heard.append(json.loads(message.data)["meme_top"])
                            self.changed = time.monotonic()
                lost = time.monotonic()
                await asyncio.sleep(0.2)


@pytest.fixture(scope="session")
def pages(released: System) -> list[Listener]:
    """Eight open pages that stay open to the end of the tests."""
    listeners = [Listener(released) for _ in range(8)]
    for one in listeners:
        one.thread.start()
    for one in listeners:
        assert one.connected.wait(10)
    return listeners


def test_the_api_answers_and_knows_its_secret(released: System) -> None:
    """POST /gif with the generated secret, 403 with a wrong one; GET /gif, /history, /search, /view/<id> find it."""
    assert post(released, "x", secret="wrong").status_code == 403
    made = post(released, "hello-from-e2e")
    assert made.status_code == 201
    assert released.get("/gif").json()["meme_top"] == "hello-from-e2e"
    assert released.get("/history?page=1").json()["gifs"][0]["id"] == made.json()["id"]
    assert [one["id"] for one in released.get("/search?query=from-e2e").json()["gifs"]] == [made.json()["id"]]
    assert released.get(f"/view/{made.json()['id']}").json()["who"] == "e2e"


def test_the_migration_ran_once_before_traffic(released: System) -> None:
    """Its output stands in the deploy's, and a second deploy of the same release does not run it."""
    assert "schema is up to date" in released.first.output
    assert "schema is up to date" not in released.release("web", "v1").succeeded().output


def test_a_new_gif_reaches_every_open_page_on_every_replica(released: System, pages: list[Listener]) -> None:
    """Eight websockets over both hosts; each hears of it within two seconds."""
    assert {host for page in pages for host in page.hosts} == set(released.instances())
    post(released, "pushed")
    wait_for("all pages", lambda: all("pushed" in page.heard for page in pages), 2, 0.05)


def test_the_secret_is_generated_and_a_well_known_one_is_refused(released: System) -> None:
    """Secrets Manager holds 32 characters; a stack file with a literal default is refused by name before anything changes."""
    assert len(secret(released)) == 32
    environment: dict[str, Any] = {"web": {"UPLOAD_SECRET": "changeme"}}
    local = released.environment_facts()
    refused = released.play("provision", flotilla_environment={**local, "variables": environment})
    refused.refused("UPLOAD_SECRET", "changeme|well-known", "secrets")


def test_a_failing_migration_fails_the_release_before_any_host_leaves_service(released: System) -> None:
    """The same image with a migration that ends with 1: exit code not 0, its words are shown, nothing is drained or restarted."""
    stack = released.stack_facts()
    stack["services"]["web"]["migration"] = {"command": ["python3", "-c", "import sys; sys.exit('column missing in e2e')"]}
    before = released.containers()
    with released.load("migration"):
        released.play("deploy", flotilla_stack=stack, release_tag=released.push("web", "v2")).refused("column missing in e2e")
    assert released.containers() == before
    assert released.versions(path="/healthz") == {"v1"}


def test_a_database_outage_takes_targets_out_of_service_but_restarts_nothing(released: System) -> None:
    """GET /gif says 500 and then 503 comes from the load balancer or 500 from the app; / is still static; it heals by itself; no container is restarted."""
    rds = released.client("rds")
    name = rds.describe_db_instances()["DBInstances"][0]["DBInstanceIdentifier"]
    before = released.containers()
    rds.stop_db_instance(DBInstanceIdentifier=name)
    wait_for("an honest error", lambda: released.get("/gif").status_code in (500, 503))
    wait_for("targets out of service", lambda: set(released.targets().values()) == {"unhealthy"})
    assert released.containers() == before, "a container was restarted"
    rds.start_db_instance(DBInstanceIdentifier=name)
    released.healthy()
    assert released.get("/gif").status_code == 200
    assert released.containers() == before, "a container was restarted"


def test_websockets_survive_idle_minutes_and_a_rolling_deploy(released: System, pages: list[Listener]) -> None:
    """Idle for longer than the load balancer's timeout; then a release under load: no request lost, every page back within 3 s and up to date."""
    released.push("web", "v2")
    before = [len(page.hosts) for page in pages]
    api = released.client("elbv2")
    facts = api.describe_load_balancer_attributes(LoadBalancerArn=api.describe_load_balancers()["LoadBalancers"][0]["LoadBalancerArn"])["Attributes"]
    timeout = float(next(one["Value"] for one in facts if one["Key"] == "idle_timeout.timeout_seconds"))
    last = max(page.changed for page in pages)
    wait_for("idle minutes", lambda: time.monotonic() - last > timeout + 5, timeout + 30)
    assert [len(page.hosts) for page in pages] == before, "a websocket was cut while idle"
    with released.load("release"):
        released.release("web", "v2").succeeded()
    post(released, "after-the-release")
    wait_for("all pages", lambda: all("after-the-release" in page.heard for page in pages), 5, 0.05)
    slowest = max(gap for page in pages for gap in page.gaps)
    say(f"websockets came back within {slowest:.2f} s")
    assert slowest < 3
    assert released.versions(path="/healthz") == {"v2"}


@pytest.mark.by_name
def test_rollback_is_one_command(released: System) -> None:
    """Without an argument, and no request is lost."""
    with released.load("rollback"):
        released.play("rollback").succeeded()
    assert released.versions(path="/healthz") == {"v1"}


@pytest.mark.by_name
def test_nobody_goes_back_past_a_migration_that_cannot_be_undone(released: System) -> None:
    """Declared with the release: a snapshot is taken before the first host leaves service, rollback is refused with the way out, nothing changes."""
    with released.load("irreversible"):
        released.play("deploy", release_tag=released.push("web", "v2"), release_irreversible=True).succeeded()
    number = released.result()["to"]
    (snapshot,) = (one["DBSnapshotIdentifier"] for one in released.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"])
    assert snapshot.endswith(f"-release-{number}")
    before = released.containers()
    released.play("rollback").refused("cannot be undone", "Way out: deploy.yml", snapshot)
    assert released.result()["exit_code"] == 10
    assert released.containers() == before and released.versions(path="/healthz") == {"v2"}


@pytest.mark.aside
@pytest.mark.by_name
def test_the_same_again_changes_nothing(released: System) -> None:
    """changed=0 from provision, configure and deploy, and the same containers."""
    before = released.containers()
    for verb, more in (("provision", {}), ("configure", {}), ("deploy", {"release_tag": released.push("web", "v2")})):
        run = released.play(verb, **more).succeeded()
        assert run.changed == 0, re.findall(r"^.*changed: .*$", run.output, re.M)
    assert released.containers() == before
