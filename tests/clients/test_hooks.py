import gzip
import hashlib
import hmac
import http.client
import json
import queue
import socket

import pytest

from specrun.clients import hooks
from specrun.clients.hooks import HookServer, verify_signature

BODY = json.dumps({"event": "update:job"}).encode()


def signature(body: bytes, secret: str) -> str:
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@pytest.fixture
def heard():
    return queue.SimpleQueue()


@pytest.fixture
def server(heard):
    found = HookServer("127.0.0.1:0", {"round1": "s3cret", "round2": "0ther", "again": "0ther"}, heard.put)
    yield found
    found.close()


def send(server: HookServer, method: str = "POST", body: bytes = BODY, **headers: str) -> int:
    """Its status."""
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    line.request(method, "/any/path", body, {name.replace("_", "-"): value for name, value in headers.items()})
    status = line.getresponse().status
    line.close()
    return status


def all_of(heard) -> list[str]:
    found = []
    while not heard.empty():
        found.append(heard.get_nowait())
    return found


def test_a_message_counts_only_with_the_signature_of_its_very_bytes():
    body, header = BODY, signature(BODY, "s3cret")
    assert verify_signature(body, header, "s3cret")
    assert not verify_signature(body + b" ", header, "s3cret")
    assert not verify_signature(body, header, "other")
    assert not verify_signature(body, header.removeprefix("sha256="), "s3cret")
    assert not verify_signature(body, None, "s3cret")
    assert not verify_signature(gzip.compress(body), "sha256=", "s3cret")
    assert not verify_signature(body, "sha256=\xe9", "s3cret")


def test_a_signed_message_tells_whose_secret_it_was(server, heard):
    assert send(server, X_Signature_256=signature(BODY, "s3cret")) == 204
    assert all_of(heard) == ["round1"]
    assert send(server, X_Signature_256=signature(BODY, "0ther")) == 204
    assert all_of(heard) == ["round2", "again"]
    assert server.take_refused() == 0


def test_what_is_not_signed_is_refused_and_counted(server, heard):
    assert send(server) == 403
    assert send(server, X_Signature_256=signature(BODY, "wrong")) == 403
    assert send(server, body=BODY + b" ", X_Signature_256=signature(BODY, "s3cret")) == 403
    assert all_of(heard) == []
    assert server.take_refused() == 3
    assert server.take_refused() == 0


def test_only_messages_of_a_bounded_size_are_read(server, heard, monkeypatch):
    assert send(server, "GET", b"") == 501
    monkeypatch.setattr(hooks, "LARGEST_BODY", len(BODY))
    assert send(server, body=BODY + b" ", X_Signature_256=signature(BODY + b" ", "s3cret")) == 413
    assert send(server, X_Signature_256=signature(BODY, "s3cret")) == 204
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    line.request("POST", "/", iter([BODY]), {"X-Signature-256": signature(BODY, "s3cret")}, encode_chunked=True)
    assert line.getresponse().status == 411
    line.close()
    assert all_of(heard) == ["round1"]


def test_who_is_refused_before_the_end_of_the_message_can_send_all_of_it(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert line.recv(1 << 16).startswith(b"HTTP/1.0 411")
        for _ in range(3):
            line.sendall(b"1\r\n{\r\n")
        line.shutdown(socket.SHUT_WR)
        while line.recv(1 << 16):
            pass


def test_a_sender_that_hangs_up_or_waits_keeps_nobody_else_out(server, heard, monkeypatch):
    start = b"POST / HTTP/1.1\r\nContent-Length: 100\r\n\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as gone:
        gone.sendall(start + b"{")
    with socket.create_connection(("127.0.0.1", server.port)) as slow:
        slow.sendall(start)
        assert send(server, X_Signature_256=signature(BODY, "s3cret")) == 204
    assert all_of(heard) == ["round1"]


def test_an_address_that_is_taken_is_an_error(server):
    with pytest.raises(OSError, match="in use"):
        HookServer(f"127.0.0.1:{server.port}", {}, print)
