"""The configuration rendered for a load balancer: what a listener, a rule or an attribute of ELBv2 becomes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from local_cloud.planes.haproxy import (
    Backend,
    Listener,
    LoadBalancer,
    Rule,
    Server,
    assign,
    commands,
    condition,
    forwards,
    pattern,
    render,
    share_commands,
    shares,
)

WEB = {"Type": "forward", "TargetGroupArn": "web"}
TO_HTTPS = {
    "Type": "redirect",
    "RedirectConfig": {"Protocol": "HTTPS", "Port": "443", "Host": "#{host}", "Path": "/#{path}", "Query": "#{query}", "StatusCode": "HTTP_301"},
}
A, B = Server("10.0.0.1", 8080, "ready"), Server("10.0.0.2", 8080, "drain")


def weighted(*groups: tuple[str, int]) -> dict[str, Any]:
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": arn, "Weight": weight} for arn, weight in groups]}}


def balancer(*rules: Rule, servers: Mapping[int, Server] | None = None, **options: Any) -> LoadBalancer:
    listeners = [Listener(80, "HTTP", [Rule([], TO_HTTPS)]), Listener(443, "HTTPS", [*rules, Rule([], WEB)], ("a.pem", "b.pem"))]
    backends = {name: Backend(name, servers=servers or {}) for name in ("web", "canary")}
    return LoadBalancer(listeners, backends, **options)


def section(text: str, name: str) -> list[str]:
    lines = text[text.index(f"\n{name}\n") :].splitlines()[2:]
    return [line.strip() for line in lines[: next((n for n, line in enumerate(lines) if not line.startswith(" ")), len(lines))]]


def test_one_bind_per_listener_with_every_certificate_the_default_one_first() -> None:
    text = render(balancer())
    assert "bind :80" in section(text, "frontend listener-80")
    secure = section(text, "frontend listener-443")[0]
    assert re.search(r"bind :443 ssl crt \S*/a\.pem crt \S*/b\.pem ssl-min-ver TLSv1\.2 alpn h2,http/1\.1", secure)


def test_http2_can_be_switched_off() -> None:
    assert "alpn http/1.1" in render(balancer(attributes={"routing.http2.enabled": "false"}))


def test_idle_timeout_is_the_attribute() -> None:
    text = render(balancer(attributes={"idle_timeout.timeout_seconds": "17"}))
    assert "timeout client 17s" in text and "timeout server 17s" in text


def test_redirect_keeps_host_path_and_query_and_names_the_port() -> None:
    lines = section(render(balancer()), "frontend listener-80")
    assert "http-request set-var-fmt(txn.port) 443 if { var(txn.rule) -m int 0 }" in lines
    assert any(
        'code 301 location "https://%[req.hdr(host),field(1,:)]:%[var(txn.port)]/%[path,regsub(^/,)]?%[query]"' in line
        and line.endswith("{ query -m len gt 0 }")
        for line in lines
    )


def test_redirect_of_a_client_on_the_published_port_leads_to_the_published_port() -> None:
    lines = section(render(balancer(published={80: 4580, 443: 4581})), "frontend listener-80")
    assert "http-request set-var(txn.port) int(4581) if { var(txn.rule) -m int 0 } { req.hdr(host),field(2,:) -m str 4580 4581 }" in lines


def test_fixed_response_is_taken_literally() -> None:
    action = {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": "418", "ContentType": "text/plain", "MessageBody": "it's 100%"}}
    text = render(balancer(Rule([{"Field": "path-pattern", "Values": ["/tea"]}], action)))
    assert "http-request return status 418 content-type 'text/plain' string 'it'\\''s 100%' if { var(txn.rule) -m int 0 }" in text


def test_the_first_matching_rule_decides() -> None:
    rules = [Rule([{"Field": "path-pattern", "Values": ["/a"]}], WEB), Rule([{"Field": "path-pattern", "Values": ["/b"]}], TO_HTTPS)]
    chosen = [line for line in section(render(balancer(*rules)), "frontend listener-443") if "set-var(txn.rule)" in line]
    assert [line.split("int(")[1][0] for line in chosen] == ["0", "1", "2"]
    assert all("if !{ var(txn.rule) -m found }" in line for line in chosen)


def test_weights_are_shares_and_zero_gets_nothing() -> None:
    given = balancer(Rule([{"Field": "path-pattern", "Values": ["/*"]}], weighted(("web", 90), ("canary", 10))))
    text = render(given)
    assert "use_backend web if { var(txn.rule) -m int 0 } { var(txn.share),sub(proc.share_443_0_0) -m int lt 0 }" in text
    assert "use_backend canary if { var(txn.rule) -m int 0 } { var(txn.share),sub(proc.share_443_0_1) -m int lt 0 }" in text
    assert shares(given) == {"proc.share_443_0_0": 90000, "proc.share_443_0_1": 100000}
    assert "  set-var proc.share_443_0_0 int(90000)" in text.splitlines()
    alone = balancer(Rule([{"Field": "path-pattern", "Values": ["/*"]}], weighted(("web", 0), ("canary", 1))))
    assert shares(alone) == {"proc.share_443_0_0": 0, "proc.share_443_0_1": 100000}


def test_new_weights_need_no_reload() -> None:
    before, after = (balancer(Rule([], weighted(("web", 100 - new), ("canary", new)))) for new in (0, 10))
    assert render(before, slots=False) == render(after, slots=False)
    assert share_commands(shares(before), shares(after)) == ["experimental-mode on; set var proc.share_443_0_0 int(90000)"]
    assert share_commands(shares(after), shares(after)) == []


def test_all_weights_zero_answers_503() -> None:
    text = render(balancer(Rule([{"Field": "path-pattern", "Values": ["/*"]}], weighted(("web", 0)))))
    assert "default_backend nowhere" in section(text, "frontend listener-443")
    assert section(text, "backend nowhere") == ["http-request return status 503 default-errorfiles"]


@pytest.mark.parametrize(
    ("action", "groups"),
    [
        (WEB, [("web", 1)]),
        (weighted(("web", 0), ("canary", 5)), [("web", 0), ("canary", 5)]),
        ({"Type": "forward", "ForwardConfig": {"TargetGroups": [{"TargetGroupArn": "x"}]}}, [("x", 1)]),
    ],
)
def test_forwards(action: dict[str, Any], groups: list[tuple[str, int]]) -> None:
    assert forwards(action) == groups


@pytest.mark.parametrize(
    ("given", "text", "matches"),
    [
        ("/api/*", "/api/x/y", True),
        ("/api/*", "/apis", False),
        ("/v?", "/v2", True),
        ("/v?", "/v", False),
        ("*.test", "a.test", True),
        ("*.test", "atest", False),
        ("/a+b", "/a+b", True),
    ],
)
def test_wildcards(given: str, text: str, matches: bool) -> None:
    assert bool(re.fullmatch(pattern(given), text)) is matches


@pytest.mark.parametrize(
    ("given", "rendered"),
    [
        ({"Field": "path-pattern", "PathPatternConfig": {"Values": ["/a", "/b*"]}}, "path -m reg '^(/a|/b.*)$'"),
        ({"Field": "host-header", "Values": ["*.x.test"]}, r"req.hdr(host),field(1,:) -m reg -i '^(.*\.x\.test)$'"),
        ({"Field": "http-request-method", "HttpRequestMethodConfig": {"Values": ["GET", "HEAD"]}}, "method 'GET' 'HEAD'"),
        ({"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}}, "src 10.0.0.0/8"),
        ({"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "Values": ["b"]}}, "req.fhdr(X-A) -m reg -i '^(b)$'"),
        ({"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "k", "Value": "v"}]}}, "query -m reg -i '(^|&)(k=v)(&|$)'"),
    ],
)
def test_conditions(given: dict[str, Any], rendered: str) -> None:
    assert condition(given) == rendered


def test_an_unknown_condition_is_refused() -> None:
    with pytest.raises(ValueError, match="'moon-phase'"):
        condition({"Field": "moon-phase"})


def test_forwarded_headers_follow_the_attribute() -> None:
    appended = section(render(balancer()), "frontend listener-443")
    assert any("set-header X-Forwarded-For %[req.fhdr(X-Forwarded-For)],\\ %[src]" in line for line in appended)
    assert "http-request set-header X-Forwarded-Proto %[var(txn.scheme)]" in appended
    removed = section(render(balancer(attributes={"routing.http.xff_header_processing.mode": "remove"})), "frontend listener-443")
    assert "http-request del-header X-Forwarded-For" in removed
    preserved = render(balancer(attributes={"routing.http.xff_header_processing.mode": "preserve"}))
    assert "X-Forwarded-For" not in preserved


def test_ready_targets_are_in_their_slots_and_others_are_disabled() -> None:
    lines = section(render(balancer(servers={1: A, 2: B})), "backend web")
    assert "server s1 10.0.0.1:8080" in lines
    assert any(line.startswith("server s2 ") and line.endswith("disabled") for line in lines)
    assert sum(line.startswith("server ") for line in lines) == 16


def test_connections_are_retried_only_when_they_could_not_be_made() -> None:
    text = render(balancer())
    for line in ("retries 3", "retry-on conn-failure", "option redispatch 1"):
        assert f"  {line}\n" in text


def test_targets_alone_never_need_a_reload() -> None:
    assert render(balancer(servers={1: A}), slots=False) == render(balancer(servers={1: B, 2: A}), slots=False)
    assert render(balancer(servers={1: A}), slots=False) != render(balancer(servers={17: A}), slots=False)


def test_a_new_target_gets_its_address_before_requests() -> None:
    assert commands("web", {}, {1: A}) == ["set server web/s1 addr 10.0.0.1 port 8080", "set server web/s1 state ready"]


def test_draining_only_changes_the_state() -> None:
    drained = Server(A.address, A.port, "drain")
    assert commands("web", {1: A}, {1: drained}) == ["set server web/s1 state drain"]
    assert commands("web", {1: drained}, {1: A}) == ["set server web/s1 state ready"]


def test_after_the_delay_what_still_runs_is_cut_off() -> None:
    assert commands("web", {1: A, 2: B}, {1: A}) == ["set server web/s2 state maint", "shutdown sessions server web/s2"]


def test_nothing_is_said_when_nothing_changed() -> None:
    assert commands("web", {1: A, 2: B}, {1: A, 2: B}) == []


def test_targets_keep_their_slots() -> None:
    assert assign({}, ["i-1", "i-2"]) == {1: "i-1", 2: "i-2"}
    assert assign({1: "i-1", 2: "i-2"}, ["i-2", "i-3", "i-4"]) == {2: "i-2", 1: "i-3", 3: "i-4"}


def network(**options: Any) -> str:
    rules = [Rule([], weighted(("web", 90), ("canary", 10)))]
    backends = {name: Backend(name, "TCP", servers={1: A}, **options) for name in ("web", "canary")}
    return render(LoadBalancer([Listener(6379, "TCP", rules)], backends, {"tcp.idle_timeout.seconds": "400"}, kind="network"))


def test_a_network_load_balancer_passes_connections_on_without_looking_into_them() -> None:
    """ "You can configure the idle timeout … The default value for TCP flows is 350 seconds"."""
    text = network()
    assert "  mode tcp\n" in text and "http" not in text
    assert "timeout client 400s" in text and "timeout server 400s" in text
    assert section(text, "frontend listener-6379")[2:4] == [
        f"use_backend {name} if {{ var(txn.share) -m int lt {n} }}" for name, n in (("web", 90000), ("canary", 100000))
    ]
    assert section(text, "backend nowhere") == ["tcp-request content reject"]


def test_targets_that_judge_clients_see_the_second_address() -> None:
    assert section(network(source="10.0.0.9"), "backend web")[1] == "source 10.0.0.9"
    assert "source " not in network()


def test_connections_of_a_network_load_balancer_live_on_after_the_delay() -> None:
    assert commands("web", {1: A}, {}, cut=False) == ["set server web/s1 state maint"]
