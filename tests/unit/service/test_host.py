"""How a service is asked on its host whether it answers."""

from __future__ import annotations

import socket
import threading

import pytest
from ansible_collections.flotilla.ec2.plugins.module_utils.service import host


@pytest.mark.parametrize(
    ("answer", "status"),
    [(b"HTTP/1.1 200 OK\r\n\r\nfine", 200), (b"HTTP/1.0 503 Service Unavailable\r\n\r\n", 503), (b"", None), (b"220 mail.example ESMTP\r\n", None)],
    ids=["well", "not well", "taken and dropped", "another protocol"],
)
def test_any_status_is_an_answer(answer: bytes, status: int | None) -> None:
    asked: list[bytes] = []

    def serve() -> None:
        connection = listener.accept()[0]
        asked.append(connection.recv(4096))
        connection.sendall(answer)
        connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        server = threading.Thread(target=serve, daemon=True)
        server.start()
        assert host.answers(port, "/healthz?deep=1") == status
        server.join(5)
    assert asked[0].startswith(b"GET /healthz?deep=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n" % port)
    assert b"\r\nConnection: close\r\n" in asked[0]


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert host.answers(port, "/", timeout=1) is None
