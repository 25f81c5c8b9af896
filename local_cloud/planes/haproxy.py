"""The configuration of one load balancer's data plane, application or network, rendered for HAProxy. Pure: plain data in, text out.

What is rendered into the file changes with listeners, rules, attributes and certificates only (then HAProxy reloads, handing its listening
sockets over). Targets live in *slots*, servers that exist beforehand; ``commands`` gives what the runtime API must be told so that the slots
follow the targets, without any reload. The weights of target groups are variables of the process, which ``share_commands`` changes.

Sources: Application Load Balancers User Guide ("Listener rules", "Action types", "HTTP headers and Application Load Balancers", "Troubleshoot
your Application Load Balancers"), HAProxy 2.6 configuration and management manuals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ServerState = Literal["ready", "drain", "maint"]
MINIMUM_SLOTS = 16
SOCKET = "/run/haproxy.sock"
REQUESTS = "127.0.0.1:5140"  # where the agent reads the log
CERTIFICATES = "/etc/haproxy/certificates"
RANDOM = 100000  # weights are shares of this many equally likely numbers
ALGORITHMS = {"least_outstanding_requests": "leastconn", "weighted_random": "random"}


@dataclass(frozen=True)
class Server:
    """A slot in use: where its target listens and whether it gets requests (``ready``), finishes them (``drain``) or neither (``maint``)."""

    address: str
    port: int
    state: ServerState


@dataclass(frozen=True)
class Backend:
    """A target group: ``servers`` maps slot numbers (from 1) to the targets in them."""

    name: str
    protocol: str = "HTTP"
    algorithm: str = "round_robin"
    servers: Mapping[int, Server] = field(default_factory=dict)
    source: str | None = None  # the address that targets see, where it is not the load balancer's first one

    @property
    def slots(self) -> int:
        """How many slots to provide: ample, so that it seldom changes (a change means a reload)."""
        return max(MINIMUM_SLOTS, 2 ** (max(self.servers, default=1)).bit_length())


@dataclass(frozen=True)
class Rule:
    """Conditions and one action, both in the shape of the ELBv2 API. No condition: the default rule."""

    conditions: Sequence[Mapping[str, Any]]
    action: Mapping[str, Any]


@dataclass(frozen=True)
class Listener:
    """``rules`` in the order of their priority, the default rule last; ``certificates`` are file names, the default one first."""

    port: int
    protocol: str
    rules: Sequence[Rule]
    certificates: Sequence[str] = ()


@dataclass(frozen=True)
class LoadBalancer:
    """``backends`` by target group ARN. ``published`` maps listener ports to those under which this machine's users reach them."""

    listeners: Sequence[Listener]
    backends: Mapping[str, Backend]
    attributes: Mapping[str, str] = field(default_factory=dict)
    published: Mapping[int, int] = field(default_factory=dict)
    kind: Literal["application", "network"] = "application"


def quote(text: str) -> str:
    """A word for the configuration file, taken literally."""
    return "'" + text.replace("'", "'\\''") + "'"


def pattern(value: str, *, anything: str = ".") -> str:
    """An anchored regular expression for ELBv2's wildcards: ``*`` is zero or more characters, ``?`` exactly one."""
    return "".join({"*": f"{anything}*", "?": anything}.get(letter, re.escape(letter)) for letter in value)


def _alternatives(values: Iterable[str]) -> str:
    return quote("^(" + "|".join(pattern(value) for value in values) + ")$")


def condition(given: Mapping[str, Any]) -> str:
    """One condition of a rule as an anonymous ACL (User Guide, "Condition types for listener rules")."""
    kind = given["Field"]

    def values(config: str) -> list[Any]:
        return list((given.get(config) or {}).get("Values") or given.get("Values") or [])

    if kind == "path-pattern":
        return f"path -m reg {_alternatives(values('PathPatternConfig'))}"
    if kind == "host-header":
        return f"req.hdr(host),field(1,:) -m reg -i {_alternatives(values('HostHeaderConfig'))}"
    if kind == "http-header":
        return f"req.fhdr({given['HttpHeaderConfig']['HttpHeaderName']}) -m reg -i {_alternatives(values('HttpHeaderConfig'))}"
    if kind == "http-request-method":
        return "method " + " ".join(quote(value) for value in values("HttpRequestMethodConfig"))
    if kind == "source-ip":
        return "src " + " ".join(values("SourceIpConfig"))
    if kind == "query-string":
        pairs = []
        for pair in values("QueryStringConfig"):
            key = pattern(pair["Key"], anything="[^&=]") + "=" if pair.get("Key") else "([^&=]*=)?"
            pairs.append(key + pattern(pair["Value"], anything="[^&]"))
        return "query -m reg -i " + quote("(^|&)(" + "|".join(pairs) + ")(&|$)")
    raise ValueError(f"condition field {kind!r} is none of ELBv2's")


def _template(text: str) -> str:
    """A redirect's component with ELBv2's placeholders (``#{host}``, ``#{path}`` …) as an HAProxy log format."""
    known = {
        "#{protocol}": "%[var(txn.scheme)]",
        "#{host}": "%[req.hdr(host),field(1,:)]",
        "#{port}": "%[dst_port]",
        "#{path}": "%[path,regsub(^/,)]",
        "#{query}": "%[query]",
    }
    parts = re.split(r"(#\{\w+\})", text)
    return "".join(known.get(part, part.replace("%", "%%").replace(" ", "%%20").replace('"', "%%22")) for part in parts)


def _redirect(config: Mapping[str, Any], guard: str, published: Mapping[int, int]) -> list[str]:
    """A redirect. AWS always writes the port into the location, also 443.

    On this machine a load balancer is reached under published ports: 127.0.0.1:4581 stands for port 443. A client that names the published
    port of this listener in its Host header is therefore sent to the published port of the target; guests, who use the load balancer's own
    name and ports, get the location that AWS would give.
    """
    protocol = str(config.get("Protocol") or "#{protocol}")
    port = str(config.get("Port") or "#{port}")
    path = str(config.get("Path") or "/#{path}")
    query = str(config["Query"]) if config.get("Query") is not None else "#{query}"
    scheme = "%[var(txn.scheme)]" if protocol == "#{protocol}" else protocol.lower()
    lines = [f"http-request set-var-fmt(txn.port) {_template(port)} {guard}"]
    if port.isdigit() and int(port) in published:
        named = " ".join(str(number) for number in published.values())
        lines.append(f"http-request set-var(txn.port) int({published[int(port)]}) {guard} {{ req.hdr(host),field(2,:) -m str {named} }}")
    location = f"{scheme}://{_template(str(config.get('Host') or '#{host}'))}:%[var(txn.port)]{_template(path)}"
    code = "302" if str(config.get("StatusCode")) == "HTTP_302" else "301"
    if query == "#{query}":
        lines.append(f'http-request redirect code {code} location "{location}?%[query]" {guard} {{ query -m len gt 0 }}')
        query = ""
    lines.append(f'http-request redirect code {code} location "{location}{"?" if query else ""}{_template(query)}" {guard}')
    return lines


def _fixed_response(config: Mapping[str, Any], guard: str) -> list[str]:
    body = config.get("MessageBody") or ""
    content = f" content-type {quote(str(config.get('ContentType') or 'text/plain'))} string {quote(str(body))}" if body else ""
    return [f"http-request return status {config['StatusCode']}{content} {guard}"]


def forwards(action: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The target group ARNs of a forward action with their weights (1 where none is given)."""
    groups = (action.get("ForwardConfig") or {}).get("TargetGroups") or []
    if groups:
        return [(group["TargetGroupArn"], int(group["Weight"]) if group.get("Weight") is not None else 1) for group in groups]
    return [(action["TargetGroupArn"], 1)] if action.get("TargetGroupArn") else []


def _known(action: Mapping[str, Any], backends: Mapping[str, Backend]) -> list[tuple[str, int]]:
    """Name and weight of the backends that an action forwards to."""
    return [(backends[arn].name, weight) for arn, weight in forwards(action) if arn in backends]


def _forward(action: Mapping[str, Any], port: int, number: int, backends: Mapping[str, Backend]) -> list[str]:
    """``use_backend`` lines that share the requests of rule ``number`` out by weight; a group with weight 0 gets none."""
    groups = _known(action, backends)
    guard = f"{{ var(txn.rule) -m int {number} }}"
    if len(groups) == 1:
        return [f"use_backend {name} if {guard}" for name, weight in groups if weight > 0]
    return [
        f"use_backend {name} if {guard} {{ var(txn.share),sub({share_variable(port, number, position)}) -m int lt 0 }}"
        for position, (name, _) in enumerate(groups)
    ]


def share_variable(port: int, rule: int, position: int) -> str:
    """Where a process keeps the number below which a request's share leads to a group."""
    return f"proc.share_{port}_{rule}_{position}"


def shares(balancer: LoadBalancer) -> dict[str, int]:
    """The variables of all weighted forwards with their values: a request of share s goes to the first group whose number is above s."""
    found: dict[str, int] = {}
    for listener in balancer.listeners if balancer.kind == "application" else ():
        for number, rule in enumerate(listener.rules):
            groups = _known(rule.action, balancer.backends) if rule.action["Type"] == "forward" else []
            total, reached = sum(weight for _, weight in groups), 0
            for position, (_, weight) in enumerate(groups if len(groups) > 1 else []):
                reached += weight
                found[share_variable(listener.port, number, position)] = reached * RANDOM // total if total else 0
    return found


def share_commands(before: Mapping[str, int], after: Mapping[str, int]) -> list[str]:
    """What to tell the runtime API so that requests are shared out anew; connections and requests in flight are not touched."""
    return [f"experimental-mode on; set var {name} int({value})" for name, value in after.items() if before.get(name) != value]


def _frontend(listener: Listener, balancer: LoadBalancer) -> list[str]:
    secure = listener.protocol == "HTTPS"
    bind = f"bind :{listener.port}"
    if secure:
        http2 = balancer.attributes.get("routing.http2.enabled", "true") == "true"
        bind += " ssl " + " ".join(f"crt {CERTIFICATES}/{name}" for name in listener.certificates)
        bind += f" ssl-min-ver TLSv1.2 alpn {'h2,' if http2 else ''}http/1.1"
    forwarded = balancer.attributes.get("routing.http.xff_header_processing.mode", "append")
    lines = [
        bind,
        f"http-request set-var(txn.scheme) str({'https' if secure else 'http'})",
        f"http-request set-var(txn.share) rand({RANDOM})",
    ]
    if forwarded == "remove":
        lines.append("http-request del-header X-Forwarded-For")
    elif forwarded == "append":
        lines += [
            "http-request set-header X-Forwarded-For %[req.fhdr(X-Forwarded-For)],\\ %[src] if { req.fhdr(X-Forwarded-For) -m found }",
            "http-request set-header X-Forwarded-For %[src] if !{ req.fhdr(X-Forwarded-For) -m found }",
        ]
    lines += [
        "http-request set-header X-Forwarded-Proto %[var(txn.scheme)]",
        "http-request set-header X-Forwarded-Port %[dst_port]",
    ]
    # The first rule that matches decides, whatever its action; HAProxy by itself would look at all redirects before all forwards.
    for number, rule in enumerate(listener.rules):
        conditions = " ".join(f"{{ {condition(one)} }}" for one in rule.conditions)
        lines.append(f"http-request set-var(txn.rule) int({number}) if !{{ var(txn.rule) -m found }} {conditions}".rstrip())
    for number, rule in enumerate(listener.rules):
        guard = f"if {{ var(txn.rule) -m int {number} }}"
        if rule.action["Type"] == "redirect":
            lines += _redirect(rule.action["RedirectConfig"], guard, balancer.published)
        elif rule.action["Type"] == "fixed-response":
            lines += _fixed_response(rule.action["FixedResponseConfig"], guard)
        elif rule.action["Type"] == "forward":
            lines += _forward(rule.action, listener.port, number, balancer.backends)
    return [f"frontend listener-{listener.port}", *(f"  {line}" for line in lines), "  default_backend nowhere"]


def _tcp_frontend(listener: Listener, balancer: LoadBalancer) -> list[str]:
    """A TCP listener: connections are passed on, to the groups of its default action by weight."""
    named = [one for rule in listener.rules for one in forwards(rule.action)]
    groups = [(balancer.backends[arn].name, weight) for arn, weight in named if weight > 0 and arn in balancer.backends]
    total, share = sum(weight for _, weight in groups), 0
    lines = [f"frontend listener-{listener.port}", f"  bind :{listener.port}", f"  tcp-request content set-var(txn.share) rand({RANDOM})"]
    for name, weight in groups:
        share += weight
        lines.append(f"  use_backend {name} if {{ var(txn.share) -m int lt {share * RANDOM // total} }}")
    return [*lines, "  default_backend nowhere"]


def _backend(backend: Backend) -> list[str]:
    secure = " ssl verify none" if backend.protocol == "HTTPS" else ""
    lines = [f"backend {backend.name}", f"  balance {ALGORITHMS.get(backend.algorithm, 'roundrobin')}"]
    if backend.source:
        lines.append(f"  source {backend.source}")
    if backend.protocol in ("HTTP", "HTTPS"):
        lines += [
            "  http-response set-var(txn.answered) bool(true)",
            # AWS answers 503 when a group has no target, and 502 when its targets cannot be reached ("Troubleshoot your ALB").
            "  http-after-response set-status 502 if { status 503 } !{ var(txn.answered) -m found } { nbsrv gt 0 }",
        ]
    for slot in range(1, backend.slots + 1):
        server = backend.servers.get(slot)
        if server and server.state == "ready":
            lines.append(f"  server s{slot} {server.address}:{server.port}{secure}")
        else:  # free, or draining: a process that starts has no request to finish there
            lines.append(f"  server s{slot} 192.0.2.1:9{secure} disabled")
    return lines


def render(balancer: LoadBalancer, *, slots: bool = True) -> str:
    """The whole configuration file. ``slots=False`` leaves targets and weights out: what stays equal then needs no reload."""
    lines = [
        "global",
        f"  stats socket {SOCKET} mode 600 level admin expose-fd listeners",
        f"  log stdout format raw local0 {'err' if balancer.kind == 'application' else 'info'}",
        "  maxconn 8192",
        "  nbthread 2",
        "  tune.ssl.default-dh-param 2048",
        "  hard-stop-after 1h",
    ]
    if balancer.kind == "application":
        # Every request to the agent, which counts them for CloudWatch.
        lines.insert(3, f"  log {REQUESTS} len 8192 format raw local1 info")
    if slots:
        lines += [f"  set-var {name} int({value})" for name, value in shares(balancer).items()]
    if balancer.kind == "application":
        # WebSockets are an upgrade of HTTP/1.1 there; AWS's HTTP/2 has no extended CONNECT.
        lines.append("  h2-workaround-bogus-websocket-clients")
    lines += _application_defaults(balancer) if balancer.kind == "application" else _network_defaults(balancer)
    frontend = _frontend if balancer.kind == "application" else _tcp_frontend
    for listener in sorted(balancer.listeners, key=lambda one: one.port):
        lines += frontend(listener, balancer)
    for backend in sorted(balancer.backends.values(), key=lambda one: one.name):
        lines += _backend(backend) if slots else [*_backend(replace(backend, servers={})), f"  # {backend.slots}"]
    return "\n".join(lines) + "\n"


def _network_defaults(balancer: LoadBalancer) -> list[str]:
    idle = balancer.attributes.get("tcp.idle_timeout.seconds", "350")
    return [
        "defaults",
        "  mode tcp",
        "  log global",
        "  option tcplog",
        "  option dontlog-normal",
        "  timeout connect 10s",
        f"  timeout client {idle}s",
        f"  timeout server {idle}s",
        "  timeout queue 10s",
        "  retries 0",
        "  default-server init-addr none",
        # Where connections go whose action forwards to nothing: they are reset.
        "backend nowhere",
        "  tcp-request content reject",
    ]


def _application_defaults(balancer: LoadBalancer) -> list[str]:
    idle = balancer.attributes.get("idle_timeout.timeout_seconds", "60")
    return [
        "defaults",
        "  mode http",
        "  log global",
        "  option httplog",
        # What fails is an error, and alone goes to the container's own log too.
        "  option log-separate-errors",
        "  option dontlognull",
        # Three attempts of three seconds: AWS gives up to connect after ten seconds ("HTTP 504").
        "  timeout connect 3s",
        "  retries 3",
        "  retry-on conn-failure",
        "  option redispatch 1",
        f"  timeout client {idle}s",
        f"  timeout server {idle}s",
        f"  timeout tunnel {idle}s",
        "  timeout http-request 60s",
        f"  timeout http-keep-alive {idle}s",
        "  timeout queue 10s",
        # One connection to a target per request, where AWS keeps them: an idle one that the target closes just then would cost a request.
        "  option http-server-close",
        # At a reload keep-alive clients are told with their next answer that the connection ends, instead of finding it closed.
        "  option idle-close-on-response",
        '  http-error status 502 content-type text/html string "<html><head><title>502 Bad Gateway</title></head></html>"',
        '  http-error status 503 content-type text/html string "<html><head><title>Service Temporarily Unavailable</title></head></html>"',
        '  http-error status 504 content-type text/html string "<html><head><title>504 Gateway Time-out</title></head></html>"',
        "  default-server init-addr none",
        # Where requests go whose action forwards to nothing.
        "backend nowhere",
        "  http-request return status 503 default-errorfiles",
    ]


def commands(name: str, before: Mapping[int, Server], after: Mapping[int, Server], *, cut: bool = True) -> list[str]:
    """What to tell the runtime API so that the slots of backend ``name`` go from ``before`` to ``after``; nothing when they are equal.

    ``cut``: what still runs on a slot that becomes free is ended.
    """
    told: list[str] = []
    for slot in sorted({*before, *after}):
        old, new = before.get(slot), after.get(slot)
        if old == new:
            continue
        server = f"{name}/s{slot}"
        if new is None:
            # "The deregistration delay period elapsed for a request being handled by a target": it is cut off (User Guide, "HTTP 502").
            told += [f"set server {server} state maint", *([f"shutdown sessions server {server}"] if cut else [])]
            continue
        if old is None or (old.address, old.port) != (new.address, new.port):
            told.append(f"set server {server} addr {new.address} port {new.port}")
        told.append(f"set server {server} state {new.state}")
    return told


def assign(slots: Mapping[int, str], wanted: Iterable[str]) -> dict[int, str]:
    """Give each wanted target a slot: the one it has, else the lowest free one. Targets no longer wanted lose theirs."""
    wanted = list(wanted)
    kept = {slot: target for slot, target in slots.items() if target in wanted}
    free = (slot for slot in range(1, len(slots) + len(wanted) + 2) if slot not in kept)
    taken = set(kept.values())
    for target in wanted:
        if target not in taken:
            kept[next(free)] = target
    return kept
