"""An API server that does what a real one will not do on demand.

    with OddServer() as server:                       # or net="/run/netns/x", address="10.50.0.4"
        server.put("pods", pod("a"))
        server.script(status(429, retry_after=2), plural="pods", kind="watch", times=3)
        server.kubeconfig("/tmp/kubeconfig")
        server.count(plural="pods", kind="list")      # of Request: plural, kind, query, status, at
        server.break_watches("pods")

Without a script it lists and watches as a real one does: pages and continue, resourceVersion and 410, WatchList with its
bookmark, field selectors, bookmarks, timeoutSeconds. A script is a list of actions; a request takes the first that
fits it. kind: "list" (first page), "page" (a later one), "stream" (sendInitialEvents), "watch", "other".
"""

import base64
import contextlib
import gzip
import http.server
import itertools
import json
import os
import select
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import traceback
import zlib
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

import pki
from client import inside

GROUP = "egressgateway.kubernetes.azure.com"
RESOURCES = {
    "/api/v1/pods": ("pods", "Pod", "v1"),
    "/api/v1/nodes": ("nodes", "Node", "v1"),
    f"/apis/{GROUP}/v1alpha1/staticgatewayconfigurations":
        ("staticgatewayconfigurations", "StaticGatewayConfiguration", f"{GROUP}/v1alpha1"),
    f"/apis/{GROUP}/v1alpha1/gatewayvmconfigurations":
        ("gatewayvmconfigurations", "GatewayVMConfiguration", f"{GROUP}/v1alpha1"),
}
BUILT_IN = ("pods", "nodes")  # items of their lists carry no kind
PATHS = {plural: path for path, (plural, _, _) in RESOURCES.items()}


class Gone(Exception):
    """The other side, or the script, ended the exchange."""


@dataclass
class Request:
    plural: str
    kind: str
    path: str
    query: dict
    headers: dict
    at: float = field(default_factory=time.monotonic)
    status: int = 0


@dataclass
class Rule:
    action: object
    plural: str
    kind: str
    times: int


def status_object(code, reason, message, retry_after=None, causes=()):
    details = {"causes": [{"reason": cause} for cause in causes]} if causes else {}
    if retry_after is not None:
        details["retryAfterSeconds"] = retry_after
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
            "reason": reason, "details": details, "code": code}


EXPIRED = status_object(410, "Expired", "too old resource version: 1 (9)")


# Actions: what becomes of one request

def status(code, reason="Odd", message="as the script says", retry_after=None):
    def action(exchange):
        headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
        exchange.answer(code, status_object(code, reason, message), headers)
    return action


def expired(exchange):
    exchange.answer(410, EXPIRED)


def raw(body, content_type="application/json", code=200, headers=None):
    """These bytes, whatever they are."""
    return lambda exchange: exchange.body(code, body, {"Content-Type": content_type, **(headers or {})})


def redirect(to):
    return raw(b"", code=302, headers={"Location": to})


def reset(exchange):
    """RST instead of an answer."""
    exchange.reset()


def hang(exchange):
    """Takes the request and says nothing, until the server ends or release()."""
    exchange.odd.released.wait()
    raise Gone


def half_open(exchange):
    """Answers as usual, and stops to in the middle: the connection stays."""
    exchange.quiet_after = 1
    exchange.serve()


def cut(at, clean=False):
    """The answer ends after so many bytes of its body: by RST, or as if that were its end."""
    def action(exchange):
        exchange.cut_at, exchange.cut_clean = at, clean
        exchange.serve()
    return action


def trickle(size, seconds):
    """Pieces of `size` bytes with pauses between them."""
    def action(exchange):
        exchange.pace = (size, seconds)
        exchange.serve()
    return action


def frames(*lines, then_follow=False):
    """A watch that says these: objects, or bytes as they are."""
    def action(exchange):
        exchange.begin_chunks()
        for line in lines:
            exchange.chunk(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n")
        if then_follow:
            exchange.odd.released.wait(exchange.seconds())
        exchange.end_chunks()
    return action


def error_event(code, reason, message="as the script says"):
    return frames({"type": "ERROR", "object": status_object(code, reason, message)})


def endless(piece=b"x" * 65536, limit=64 << 20):
    """One line without end."""
    def action(exchange):
        exchange.begin_chunks()
        for _ in range(limit // len(piece)):
            exchange.chunk(piece)
        exchange.end_chunks()
    return action


def gzip_bomb(size=256 << 20):
    """A list whose one item is `size` spaces, of a thousandth in gzip."""
    packed = b"".join(_packed(b'{"kind":"List","metadata":{"resourceVersion":"9"},"items":[{"a":"', size, b'"}]}'))
    return raw(packed, headers={"Content-Encoding": "gzip"})


def _packed(before, size, after):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    yield packer.compress(before)
    for _ in range(size >> 20):
        yield packer.compress(b" " * (1 << 20))
    yield packer.compress(after) + packer.flush()


def ignores_initial_events(exchange):
    """As a server that does not know sendInitialEvents: the objects, and no end of them."""
    exchange.end_of_initial = False
    exchange.serve()


def without_bookmarks(exchange):
    exchange.bookmarks = False
    exchange.serve()


def backwards(exchange):
    """Versions of events go down instead of up."""
    exchange.backwards = True
    exchange.serve()


class Exchange(http.server.BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout_default = 300

    def setup(self):
        self.request.settimeout(60)
        self.request.do_handshake()
        self.request.settimeout(None)
        super().setup()
        self.chunked = False

    def log_message(self, *_):
        pass

    @property
    def odd(self):
        return self.server.owner

    def do_GET(self):
        length = int(self.headers.get("Content-Length") or 0)
        self.posted = self.rfile.read(length) if length else b""
        self.cut_at = self.quiet_after = self.pace = None
        self.cut_clean = self.backwards = False
        self.bookmarks = self.end_of_initial = True
        self.sent = 0
        self.chunked = False
        url = urlsplit(self.path)
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.plural, self.object_kind, self.version = RESOURCES.get(url.path, ("", "", ""))
        self.asked = Request(self.plural, self._kind(), url.path, self.query, dict(self.headers))
        action = self.odd.take(self.asked)
        try:
            action(self) if action else self.serve()
        except (Gone, OSError):
            self.close_connection = True

    do_POST = do_PATCH = do_GET

    def _kind(self):
        if not self.plural or self.command != "GET":
            return "other"
        if self.query.get("watch") in ("1", "true"):
            return "stream" if self.query.get("sendInitialEvents") == "true" else "watch"
        return "page" if self.query.get("continue") else "list"

    def seconds(self):
        return float(self.query.get("timeoutSeconds") or self.timeout_default)

    # Answers

    def body(self, code, body, headers=None):
        self.asked.status = code
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self._send(body)

    def answer(self, code, document, headers=None):
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json", **(headers or {})}
        if len(body) > 128 << 10 and "gzip" in self.headers.get("Accept-Encoding", ""):
            body, headers["Content-Encoding"] = gzip.compress(body, 1), "gzip"
        self.body(code, body, headers)

    def begin_chunks(self):
        self.asked.status = 200
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.flush()
        self.chunked = True

    def chunk(self, data):
        self._send(data)

    def end_chunks(self):
        self.wfile.write(b"0\r\n\r\n")
        self.chunked = False

    def _write(self, data):
        if not data:
            return
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if self.chunked else data)
        self.sent += len(data)

    def _send(self, data):
        if self.cut_at is not None and self.sent + len(data) >= self.cut_at:
            self._write(data[:self.cut_at - self.sent])
            if self.cut_clean and self.chunked:
                self.end_chunks()
                raise Gone
            self.reset()
        if self.quiet_after is not None and self.sent >= self.quiet_after:
            self.odd.released.wait()
            raise Gone
        if not self.pace:
            self._write(data)
            return
        size, seconds = self.pace
        for at in range(0, len(data), size):
            self._write(data[at:at + size])
            if self.odd.closed.wait(seconds):
                raise Gone

    def reset(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.odd.forget(self.request)
        # Not by way of TLS, which would say goodbye.
        socket.socket(fileno=self.request.detach()).close()
        raise Gone

    # As a real one

    def serve(self):
        if not self.plural:
            self.other()
        elif self.plural in self.odd.absent:
            self.body(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})
        elif self.asked.kind in ("stream", "watch"):
            self.watch()
        else:
            self.list()

    def other(self):
        if self.command == "POST" and self.path.startswith("/apis/events.k8s.io/v1/"):
            self.answer(201, json.loads(self.posted))
        else:
            self.body(404, b"404 page not found\n", {"Content-Type": "text/plain; charset=utf-8"})

    def wanted(self, item):
        for term in filter(None, self.query.get("fieldSelector", "").split(",")):
            name, unequal, value = term.partition("!=")
            if not unequal:
                name, _, value = term.partition("=")
            found = item
            for step in name.split("."):
                found = found.get(step) if isinstance(found, dict) else None
            if (str(found or "") == value) == bool(unequal):
                return False
        return True

    def list(self):
        odd, asked = self.odd, self.query.get("resourceVersion", "")
        with odd.changed:
            now = odd.version
            token = self.query.get("continue")
            if token:
                number, _, start = base64.b64decode(token).decode().partition(":")
                page = odd.pages.get(int(number))
                if page is None:
                    self.answer(410, EXPIRED)
                    return
                (now, items), start = page, int(start)
            else:
                if asked and int(asked) > now:
                    self.answer(504, status_object(504, "Timeout", f"Too large resource version: {asked}, current: {now}",
                                                   1, ["ResourceVersionTooLarge"]))
                    return
                items, start = [i for _, i in sorted(odd.objects[self.plural].items()) if self.wanted(i)], 0
        limit = int(self.query.get("limit") or 0)
        # A real one answers version 0 out of its memory, whole.
        if asked == "0" and not token and not odd.pages_everything:
            limit = 0
        meta = {"resourceVersion": str(now)}
        if limit and start + limit < len(items):
            number = int(base64.b64decode(token).decode().partition(":")[0]) if token else next(odd.numbers)
            odd.pages[number] = (now, items)
            meta["continue"] = base64.b64encode(f"{number}:{start + limit}".encode()).decode()
        items = items[start:start + limit] if limit else items[start:]
        if self.plural in BUILT_IN:
            items = [{key: value for key, value in item.items() if key not in ("kind", "apiVersion")} for item in items]
        self.answer(200, {"kind": self.object_kind + "List", "apiVersion": self.version, "metadata": meta, "items": items})

    def watch(self):
        odd, stream = self.odd, self.asked.kind == "stream"
        if stream and (not odd.watch_list or self.query.get("resourceVersionMatch") != "NotOlderThan"):
            self.answer(422, status_object(422, "Invalid", "sendInitialEvents is forbidden for watch"))
            return
        at = int(self.query.get("resourceVersion") or 0)
        with odd.changed:
            if at > odd.version:
                self.answer(504, status_object(504, "Timeout", f"Too large resource version: {at}", 1, ["ResourceVersionTooLarge"]))
                return
            if not stream and at and at < odd.compacted:
                self.answer(410, EXPIRED)
                return
            initial = list(odd.objects[self.plural].values()) if stream or not at else []
            at = odd.version if stream or not at else at
        self.begin_chunks()
        odd.remember(self.request, self.plural)
        try:
            for item in filter(self.wanted, initial):
                self.event("ADDED", item)
            if stream and self.end_of_initial:
                self.bookmark(at, {"k8s.io/initial-events-end": "true"})
            self.follow(at)
        finally:
            odd.forget(self.request)
        self.end_chunks()

    def follow(self, at):
        odd, end = self.odd, time.monotonic() + min(self.seconds(), self.odd.watch_seconds)
        next_bookmark = time.monotonic() + odd.bookmark_seconds
        while time.monotonic() < end and not odd.closed.is_set():
            if select.select([self.request], [], [], 0)[0]:  # who watches has nothing to say but goodbye
                raise Gone
            with odd.changed:
                news = [entry for entry in odd.history[self.plural] if entry[0] > at]
                if not news:
                    until = min(end, next_bookmark) if self.bookmarks else end
                    odd.changed.wait(max(0.0, min(until - time.monotonic(), 1.0)))
            for version, old, new in news:
                at = version
                before, after = old is not None and self.wanted(old), new is not None and self.wanted(new)
                if after:
                    self.event("MODIFIED" if before else "ADDED", new)
                elif before:
                    self.event("DELETED", {**(new or old), "metadata": {**old["metadata"], "resourceVersion": str(version)}})
            if self.bookmarks and self.query.get("allowWatchBookmarks") == "true" and time.monotonic() >= next_bookmark:
                with odd.changed:
                    at = max(at, odd.version) if not any(e[0] > at for e in odd.history[self.plural]) else at
                self.bookmark(at)
                next_bookmark = time.monotonic() + odd.bookmark_seconds

    def event(self, kind, item):
        if self.backwards:
            item = json.loads(json.dumps(item))
            item["metadata"]["resourceVersion"] = str(next(self.odd.downwards))
        self.chunk(json.dumps({"type": kind, "object": item}).encode() + b"\n")

    def bookmark(self, at, annotations=None):
        meta = {"resourceVersion": str(at), **({"annotations": annotations} if annotations else {})}
        self.event("BOOKMARK", {"kind": self.object_kind, "apiVersion": self.version, "metadata": meta})


class _Listener(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def get_request(self):
        connection, address = self.socket.accept()
        # The handshake belongs to the connection's own thread.
        return self.owner.tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, *_):
        if not isinstance(sys.exc_info()[1], OSError):  # that the other side went away is no error of ours
            self.owner.errors.append(traceback.format_exc())


class OddServer:
    watch_list = True          # knows sendInitialEvents
    pages_everything = False   # also what is asked for at version 0
    bookmark_seconds = 60.0
    watch_seconds = 3600.0     # longest watch, whatever was asked for

    def __init__(self, address="127.0.0.1", net=None):
        self.dir = tempfile.mkdtemp(prefix="evodd-")
        self.address, self.version, self.compacted = address, 1000, 0
        self.objects = {plural: {} for plural in PATHS}
        self.history = {plural: [] for plural in PATHS}  # (version, old, new)
        self.absent, self.pages, self.rules, self.requests, self.open = set(), {}, [], [], {}
        self.numbers, self.downwards = itertools.count(1), itertools.count(900, -1)
        self.changed, self.lock = threading.Condition(), threading.Lock()
        self.errors = []
        self.released, self.closed = threading.Event(), threading.Event()
        self.authority = pki.Authority(self.dir, "serving")
        crt, key = self.authority.issue("server", "odd", names=[address, "127.0.0.1", "localhost"])
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.tls.load_cert_chain(crt, key)
        with inside(net):
            self.listener = _Listener((address, 0), Exchange)
        self.listener.owner = self
        self.port = self.listener.server_address[1]
        self.url = f"https://{address}:{self.port}"
        self.ca = self.authority.crt
        self.thread = threading.Thread(target=self.listener.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()
        self.released.set()
        with self.changed:
            self.changed.notify_all()
        self.break_watches()
        self.listener.shutdown()
        self.listener.server_close()
        self.thread.join()
        shutil.rmtree(self.dir, ignore_errors=True)
        if self.errors:
            raise RuntimeError("the odd server itself went wrong:\n" + "\n".join(self.errors))

    def kubeconfig(self, path, token="odd"):
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "odd",
                  "clusters": [{"name": "odd", "cluster": {"server": self.url, "certificate-authority": self.ca}}],
                  "users": [{"name": "odd", "user": {"token": token}}],
                  "contexts": [{"name": "odd", "context": {"cluster": "odd", "user": "odd"}}]}
        with open(path, "w", encoding="ascii") as file:
            json.dump(config, file)
        os.chmod(path, 0o600)
        return path

    # Objects

    def put(self, plural, item):
        kind, version = next((kind, version) for name, kind, version in RESOURCES.values() if name == plural)
        with self.changed:
            self.version += 1
            item = {"kind": kind, "apiVersion": version, **json.loads(json.dumps(item))}
            item["metadata"]["resourceVersion"] = str(self.version)
            key = (item["metadata"].get("namespace", ""), item["metadata"]["name"])
            self.history[plural].append((self.version, self.objects[plural].get(key), item))
            self.objects[plural][key] = item
            self.changed.notify_all()
        return item

    def delete(self, plural, namespace, name):
        with self.changed:
            self.version += 1
            self.history[plural].append((self.version, self.objects[plural].pop((namespace, name)), None))
            self.changed.notify_all()

    def compact(self):
        """No version before this one can be watched, no page continued."""
        with self.changed:
            self.version += 1
            self.compacted = self.version
            self.pages.clear()
            for entries in self.history.values():
                entries.clear()

    # Oddities

    def script(self, *actions, plural=None, kind=None, times=1):
        """Each action for so many requests (None: all that follow), one after the other."""
        with self.lock:
            self.rules += [Rule(action, plural, kind, times) for action in actions]

    def unscript(self):
        with self.lock:
            self.rules.clear()

    def take(self, request):
        with self.lock:
            self.requests.append(request)
            for rule in self.rules:
                if rule.plural not in (None, request.plural) or rule.kind not in (None, request.kind):
                    continue
                if rule.times is not None:
                    rule.times -= 1
                    if rule.times == 0:
                        self.rules.remove(rule)
                return rule.action
        return None

    def release(self):
        """What hangs ends."""
        self.released.set()
        self.released = threading.Event()

    def remember(self, connection, plural):
        with self.lock:
            self.open[connection] = plural

    def forget(self, connection):
        with self.lock:
            self.open.pop(connection, None)

    def watched(self):
        """Watches that are open."""
        with self.lock:
            return len(self.open)

    def break_watches(self, plural=None):
        """Connections of watches end, without a word."""
        with self.lock:
            ended = [c for c, name in self.open.items() if plural in (None, name)]
            for connection in ended:
                del self.open[connection]
        for connection in ended:
            with contextlib.suppress(OSError):
                # Not that of TLS, which takes its state from under a thread that is writing.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        return len(ended)

    # What was asked

    def count(self, **wanted):
        return len(self.asked(**wanted))

    def asked(self, since=0.0, **wanted):
        with self.lock:
            return [r for r in self.requests if r.at >= since and all(getattr(r, k) == v for k, v in wanted.items())]
