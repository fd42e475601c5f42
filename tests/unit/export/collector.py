"""A collector that answers as its folder says. Prints its port; ends with its standard input.

    script    one answer a line, taken from the top; when there is none left: ok
    poison    records that it refuses alone and in company
    size      refuses more records at a time, with 413
    refusing  refuses everything, with 401
    log       what it was asked, one line each

Usage: collector.py FOLDER [tls]
"""
import email.utils, gzip, hashlib, http.server, json, os, re, socket, ssl, struct, sys, threading, time

folder = sys.argv[1]
lock = threading.Lock()
ended = threading.Event()
connections = 0
taken = []  # numbers of records, when they were taken first


def path_of(name):
    return os.path.join(folder, name)


def text_of(name):
    try:
        with open(path_of(name)) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def next_answer():
    lines = text_of("script").splitlines()
    if not lines:
        return "ok"
    with open(path_of("script.new"), "w") as file:
        file.write("".join(line + "\n" for line in lines[1:]))
    os.rename(path_of("script.new"), path_of("script"))
    return lines[0]


def context():
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(path_of("server.pem"))
    made.load_verify_locations(path_of("ca1.pem"))
    made.verify_mode = ssl.CERT_OPTIONAL
    return made


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def get_request(self):
        global connections
        sock, address = super().get_request()
        connections += 1
        if "tls" in sys.argv:
            sock = context().wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return sock, address

    def handle_error(self, request, client_address):
        pass  # connections that end early are what some tests are about


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *args):
        pass

    def answer(self, status, body=b"{}", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def close(self, hard):
        sock = self.connection
        if hard:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            sock.shutdown(socket.SHUT_RDWR)
        self.close_connection = True
        sock.close()

    def verdict(self, uids, witness):
        """What becomes of it, before it is answered."""
        if text_of("refusing"):
            return "401"
        poison = text_of("poison").split()
        if not witness and any(str(uid) in poison for uid in uids):
            return '400 {"code":3,"message":"no such attribute"}'
        if text_of("size") and len(uids) > int(text_of("size")):
            return "413"
        return next_answer()

    def say(self, how):
        words = how.split(" ", 1)
        if how == "ok":
            self.answer(200, b'{"partialSuccess":{}}')
        elif words[0] == "cut":  # taken, and nobody hears of it
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
            self.wfile.flush()
            self.close(False)
        elif words[0] == "reset":
            self.close(True)
        elif words[0] == "silent":
            ended.wait(20)
        elif words[0] == "bomb":
            self.answer(200, gzip.compress(bytes(64 << 20)), [("Content-Encoding", "gzip")])
        elif words[0] == "after":
            self.answer(429, headers=[("Retry-After", words[1])])
        elif words[0] == "date":
            self.answer(503, headers=[("Retry-After", email.utils.formatdate(time.time() + float(words[1]), usegmt=True))])
        else:
            self.answer(int(words[0]), (words[1] if len(words) > 1 else "{}").encode())

    def do_POST(self):
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        packed = self.headers.get("Content-Encoding") == "gzip"
        body = gzip.decompress(sent) if packed else sent
        json.loads(body)
        uids = [int(uid) for uid in re.findall(rb'"uid-(\d+)"', body)]
        witness = b'"witness"' in body
        with lock:
            how = self.verdict(uids, witness)
            if how.split(" ")[0] in ("ok", "cut", "bomb", "200"):
                taken.extend(uid for uid in uids if uid not in taken)
            peer = (self.connection.getpeercert() or {}) if "tls" in sys.argv else {}
            with open(path_of("log"), "a") as file:
                file.write(json.dumps({
                    "line": self.requestline, "how": how, "n": len(uids), "witness": witness,
                    "first": uids[0] if uids else -1, "taken": len(taken),
                    "ordered": taken == sorted(taken), "hash": hashlib.sha1(sent).hexdigest(),
                    "packed": packed, "bytes": len(body), "connections": connections,
                    "peer": [v for entry in peer.get("subject", ()) for k, v in entry if k == "commonName"],
                    "headers": {k.lower(): v for k, v in self.headers.items()},
                }) + "\n")
        self.say(how)


server = Server(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
os.write(1, b"%d\n" % server.server_address[1])
sys.stdin.read()
