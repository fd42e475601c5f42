"""An API server's manners over TLS, one path each. Prints its port; ends with its standard input."""
import gzip, http.server, json, os, ssl, sys, threading, zlib

folder = sys.argv[1]
released = threading.Event()
seen = {"connections": 0}


def path_of(name):
    return os.path.join(folder, name)


def context():
    """Of one connection: certificates are what the files say now."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(path_of("server.pem"))
    made.load_verify_locations(path_of("ca1.pem"))
    made.verify_mode = ssl.CERT_OPTIONAL
    return made


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def get_request(self):
        sock, address = super().get_request()
        seen["connections"] += 1
        return context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request, client_address):
        pass  # handshakes that are refused are what some tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body, status=200, headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def stream(self):
        """Two events, each flushed; the second only when /release was asked for."""
        pack = zlib.compressobj(wbits=31)
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.chunk(pack.compress(b"first\n") + pack.flush(zlib.Z_SYNC_FLUSH))
        released.wait(20)
        released.clear()
        self.chunk(pack.compress(b"second\n") + pack.flush(zlib.Z_FINISH))
        self.chunk(b"")

    def echo(self, body):
        peer = self.connection.getpeercert() or {}
        names = [value for entry in peer.get("subject", ()) for key, value in entry if key == "commonName"]
        self.answer(json.dumps({
            "line": self.requestline, "headers": {k.lower(): v for k, v in self.headers.items()},
            "body": body.decode(), "peer": names, "connections": seen["connections"],
        }).encode())

    def need(self):
        with open(path_of("accepted")) as accepted:
            good = self.headers.get("Authorization") == "Bearer " + accepted.read().strip()
        seen["asked"] = seen.get("asked", 0) + 1
        self.answer(json.dumps({"asked": seen["asked"]}).encode(), 200 if good else 401)

    def do(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        zeros = lambda n: gzip.compress(bytes(n))
        if self.path == "/gzip":
            self.answer(gzip.compress(b"unpacked"), headers=[("Content-Encoding", "gzip")])
        elif self.path == "/bomb":
            self.answer(zeros(64 << 20), headers=[("Content-Encoding", "gzip")])
        elif self.path == "/broken":
            self.answer(b"no gzip at all", headers=[("Content-Encoding", "gzip")])
        elif self.path == "/stream":
            self.stream()
        elif self.path == "/release":
            released.set()
            self.answer(b"{}")
        elif self.path == "/warn":
            self.answer(b"{}", headers=[("Warning", '299 - "v1beta1 is deprecated"')])
        elif self.path == "/refused":
            self.answer(b'{"kind":"Status"}', 403)
        elif self.path == "/slow-down":
            self.answer(b"{}", 429, headers=[("Retry-After", "7")])
        elif self.path == "/need":
            self.need()
        elif self.path == "/silent":
            released.wait(20)
        else:
            self.echo(body)

    do_GET = do_POST = do_PATCH = do_DELETE = do


server = Server(("0.0.0.0", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.write(1, b"%d\n" % server.server_address[1])
sys.stdin.read()
