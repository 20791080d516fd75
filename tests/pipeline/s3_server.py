"""A real S3 API server on loopback (moto), and a proxy in front of it that can fail, dawdle and tear."""

import contextlib
import http.client
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What every process needs to reach the server: aiobotocore and arrow read the same names.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "s3cr3t-canary", "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def started_server() -> Iterator[str]:
    """The address of a server that lives as long as the block."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None, "the server ended at its start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


@dataclass
class Request:
    """What a fault sees of a request, and may change of it."""

    method: str
    path: str
    body: bytes


#: Gets the request and its number; returns None to pass it on, or (status, S3 error code) to answer in its stead.
Fault = Callable[[Request, int], tuple[int, str] | None]


@dataclass
class Proxy:
    """In front of a server: every request goes through `fault` first."""

    address: str = ""
    fault: Fault | None = None
    seen: list[Request] = field(default_factory=list)
    faults: int = 0


@contextlib.contextmanager
def started_proxy(server: str) -> Iterator[Proxy]:
    proxy, target = Proxy(), server.removeprefix("http://")

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _serve(self) -> None:
            request = Request(self.command, self.path, self.rfile.read(int(self.headers.get("Content-Length") or 0)))
            proxy.seen.append(request)
            answer = proxy.fault(request, len(proxy.seen)) if proxy.fault else None
            if answer is not None:
                proxy.faults += 1
                status, code = answer
                data = f"<Error><Code>{code}</Code><Message>injected</Message></Error>".encode()
                headers = {"Content-Type": "application/xml"}
            else:
                inner = http.client.HTTPConnection(target, timeout=30)
                passed = {name: value for name, value in self.headers.items() if name.lower() != "content-length"}
                inner.request(self.command, self.path, body=request.body or None,
                              headers={**passed, "Content-Length": str(len(request.body))})  # fmt: skip
                reply = inner.getresponse()
                status, data = reply.status, reply.read()
                headers = {n: v for n, v in reply.getheaders() if n.lower() not in ("transfer-encoding", "connection")}
                if self.command != "HEAD":
                    headers.pop("Content-Length", None)
                inner.close()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if self.command != "HEAD":
                self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, *about) -> None:
            """Say nothing."""

    for method in ("GET", "PUT", "POST", "DELETE", "HEAD"):
        setattr(Handler, f"do_{method}", Handler._serve)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        proxy.address = f"http://127.0.0.1:{listening.server_address[1]}"
        yield proxy
        listening.shutdown()
        thread.join()


def environment(address: str) -> dict[str, str]:
    return {**os.environ, **CREDENTIALS, "AWS_ENDPOINT_URL": address}
