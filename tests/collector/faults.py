"""What stands between agent and Collector: forwards, or does what a network, a balancer or a collector in trouble does."""

import contextlib
import gzip
import http.client
import http.server
import json
import socket
import socketserver
import struct
import threading
import time
from dataclasses import dataclass, field

from parts import host
from sink import records_of

PORT = 4318
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}


@dataclass
class Request:
    """One request of the agent, and what became of it."""

    at: float  # monotonic, as everything here: when it was complete
    path: str
    headers: dict = field(repr=False)
    size: int = 0  # of the body as sent
    text: bytes = field(default=b"", repr=False)  # decompressed; kept only while it is under way
    length: int = 0  # of text
    records: list = field(default_factory=list, repr=False)  # kept only while it is under way
    uids: list = field(default_factory=list, repr=False)  # of its log records
    status: int = None  # what the agent was answered; None: nothing, or it had gone by then
    upstream: int = None  # what the Collector answered
    done: float = None
    answered: float = None  # as done, but Unix time


@dataclass
class Fault:
    """`when` a request is such: answer `status`, or wait `delay` seconds and forward, or drop the connection "before" or
    "after" forwarding, or say nothing for as long as this is the fault ("silent")."""

    status: int = None
    headers: dict = field(default_factory=dict)
    body: bytes = b'{"code":14,"message":"by the test"}'
    delay: float = 0
    drop: str = None
    silent: bool = False
    when: object = None  # of a Request; None: every one
    times: int = None  # so often; None: for as long as it is set

    def takes(self, request):
        if self.times == 0 or (self.when and not self.when(request)):
            return False
        if self.times:
            self.times -= 1
        return True


class _Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def server_bind(self):
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name service who we are

    def handle_error(self, request, client_address):
        pass  # the agent was killed, or the connection dropped, which is why this is here

    def process_request(self, request, client_address):
        with self.proxy.lock:
            self.proxy.connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request):
        with self.proxy.lock:
            self.proxy.connections.discard(request)
        super().shutdown_request(request)


class FaultProxy:
    """In the network namespace of a lab's node, in front of `collector`. `fault` is one Fault, or None."""

    def __init__(self, lab, collector, node="w1", port=PORT):
        self.net, self.collector, self.port = lab.net(node), collector, port
        self.lock, self.changed = threading.Lock(), threading.Condition()
        self.requests, self.connections = [], set()
        self.accepted = {}  # uid: runs of the Collector that answered 200 for it, in the order of the first answers
        self.contents = {}  # uid: Record, of those
        self.rejected = {}  # uid: statuses other than 200 with which it came back
        self._fault = None
        self.server = self.thread = None

    # The agent's way to it

    def up(self):
        with host.inside(self.net):
            self.server = _Server(("127.0.0.1", self.port), _Handler)
        self.server.proxy = self
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        return self

    def down(self):
        """Nobody listens: connections are refused, those that are there reset."""
        if not self.server:
            return
        self.server.shutdown()
        self.server.server_close()
        self.thread.join(60)
        with self.lock:
            open_ones = list(self.connections)
        for connection in open_ones:
            reset(connection)
        self.server = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    # What it does

    @property
    def fault(self):
        return self._fault

    @fault.setter
    def fault(self, fault):
        with self.changed:
            self._fault = fault
            self.changed.notify_all()

    def wait_other(self, fault, until, connection):
        """While `fault` is the one: until a time, or until the other side has gone."""
        with self.changed:
            while self._fault is fault and (until is None or time.monotonic() < until) and not has_gone(connection):
                self.changed.wait(0.05)

    # What it saw

    def of(self, path="/v1/logs", since=0.0):
        with self.lock:
            return [request for request in self.requests if request.path == path and request.at >= since]

    def finish(self, request):
        request.done, request.answered, request.text = time.monotonic(), time.time(), b""
        request.records = []
        with self.changed:
            self.changed.notify_all()

    def wait_request(self, condition, timeout=60.0, path="/v1/logs", since=0.0):
        """The first finished request that is such."""
        deadline = time.monotonic() + timeout
        with self.changed:
            while True:
                found = next((r for r in self.of(path, since) if r.done and condition(r)), None)
                if found:
                    return found
                left = deadline - time.monotonic()
                if left <= 0:
                    seen = [(round(r.at - since, 2), r.status, len(r.uids)) for r in self.of(path, since)]
                    raise host.LabError(f"not within {timeout} s: such a request; seen {seen[-20:]}")
                self.changed.wait(min(left, 0.5))


def has_gone(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def reset(connection):
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    upstream = None

    def log_message(self, *_):
        pass

    @property
    def proxy(self):
        return self.server.proxy

    def handle(self):
        try:
            super().handle()
        except OSError:
            pass
        finally:
            if self.upstream:
                self.upstream.close()

    def body(self):
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):  # noqa: N802
        body = self.body()
        text = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
        request = Request(time.monotonic(), self.path, {k.lower(): v for k, v in self.headers.items()}, len(body), text, len(text))
        if self.path == "/v1/logs":
            request.records = list(records_of(json.loads(text)))
            request.uids = [record.uid for record in request.records]
        fault = self.proxy.fault
        if fault and not fault.takes(request):
            fault = None
        with self.proxy.lock:
            self.proxy.requests.append(request)
        try:
            self.treat(request, body, fault)
        finally:
            self.proxy.finish(request)

    def treat(self, request, body, fault):
        if fault and fault.silent:
            self.proxy.wait_other(fault, None, self.connection)
            return self.hang_up()
        if fault and fault.delay:
            self.proxy.wait_other(fault, time.monotonic() + fault.delay, self.connection)
        if fault and fault.drop == "before":
            return self.hang_up()
        if fault and fault.status:
            headers = {"Content-Type": "application/json", **{k: v() if callable(v) else v for k, v in fault.headers.items()}}
            return self.answer(request, fault.status, headers, fault.body)
        status, headers, answer = self.forward(request, body)
        if fault and fault.drop == "after":
            return self.hang_up()
        self.answer(request, status, headers, answer)

    def forward(self, request, body):
        headers = {k: v for k, v in request.headers.items() if k not in HOP_BY_HOP}
        for again in (True, False):
            run = self.proxy.collector.run
            try:
                if not self.upstream:
                    # Kept ones may be those of a Collector that has ended since.
                    again = False
                    self.upstream = http.client.HTTPConnection(self.proxy.collector.address, self.proxy.collector.port, timeout=120)
                    with host.inside(self.proxy.net):
                        self.upstream.connect()
                self.upstream.request("POST", self.path, body, headers)
                answer = self.upstream.getresponse()
                text = answer.read()
                break
            except (OSError, http.client.HTTPException):
                self.upstream.close()
                self.upstream = None
                if not again:
                    return 502, {"Content-Type": "text/plain"}, b"no collector"
        request.upstream = answer.status
        if answer.status == 200:
            with self.proxy.lock:
                for record in request.records:
                    self.proxy.accepted.setdefault(record.uid, []).append(run)
                    self.proxy.contents[record.uid] = record
        return answer.status, {k: v for k, v in answer.getheaders() if k.lower() not in HOP_BY_HOP}, text

    def answer(self, request, status, headers, body):
        if has_gone(self.connection):
            self.close_connection = True  # its patience was at an end
            return
        request.status = status
        if status != 200:
            with self.proxy.lock:
                for uid in request.uids:
                    self.proxy.rejected.setdefault(uid, []).append(status)
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def hang_up(self):
        self.close_connection = True
        reset(self.connection)
