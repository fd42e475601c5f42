#!/usr/bin/python3
"""Real traffic, run inside a pod's network namespace and cgroup.

    traffic.py tcp  HOST PORT [--count N] [--interval S] [--bytes N]   N connections, one line each
    traffic.py udp  HOST PORT [--count N] [--interval S] [--bytes N]   N datagrams from one socket
    traffic.py http URL [--count N] [--interval S]                    the answers' bodies
    traffic.py hold HOST PORT [--interval S]                          one connection that stays and talks
    traffic.py serve PORT                                             HTTP server that answers with the client's address
    traffic.py serve-udp PORT                                         UDP the same
    traffic.py serve-talk PORT [--once]                               TCP server that repeats; --once: its listener
                                                                      closes with the first connection
    traffic.py dns HOST [--count N] [--interval S]                    questions for echo1.lab, each from its own port

SIGTERM ends repeated ones after the try that is under way, so that no connection is cut off and answered by a reset.

Options: --source ADDRESS binds, --timeout S (default 5), --forever instead of --count.
A line is "UNIXTIME WHAT": the time just before the first packet of the try, so
that a test can measure from it. Exit 0 when every try was answered, else 1.
"""

import argparse
import itertools
import signal
import socket
import sys
import threading
import time
import urllib.request


def say(started, text):
    print(f"{started:.6f} {text}", flush=True)


def tcp(args):
    started = time.time()
    with socket.create_connection((args.host, args.port), args.timeout, (args.source, 0)) as connection:
        local = connection.getsockname()[1]
        if args.bytes:
            connection.sendall(b"x" * args.bytes)
        said = ""
        if args.port == 9000:
            said = connection.makefile().readline().strip()
        say(started, f"ok {local} {said}".strip())


def udp(args, sock):
    started = time.time()
    sock.sendto(b"x" * max(1, args.bytes), (args.host, args.port))
    answer = sock.recv(2048).decode("latin-1").strip()
    say(started, f"ok {sock.getsockname()[1]} {answer}")


def http(args):
    started = time.time()
    with urllib.request.urlopen(args.url, timeout=args.timeout) as answer:
        say(started, f"ok {answer.read(4096).decode('utf-8', 'replace').strip()}")


def repeat(args, once):
    failed, over = 0, []
    signal.signal(signal.SIGTERM, lambda *_: over.append(True))
    for number in itertools.count():
        if over or not args.forever and number >= args.count:
            break
        if number:
            time.sleep(args.interval)
        started = time.time()
        try:
            once()
        except OSError as error:
            failed += 1
            say(started, f"fail {type(error).__name__}: {error}")
    return 1 if failed else 0


def hold(args):
    started = time.time()
    connection = socket.create_connection((args.host, args.port), args.timeout, (args.source, 0))
    say(started, f"connected {connection.getsockname()[1]}")
    connection.settimeout(args.timeout)
    while True:
        started = time.time()
        try:
            connection.sendall(b"still here\n")
            if not connection.recv(4096):
                say(started, "closed")
                return 1
            say(started, "ok")
        except OSError as error:
            say(started, f"fail {type(error).__name__}: {error}")
        time.sleep(args.interval)


def serve(args):
    server = socket.create_server(("0.0.0.0", args.port), backlog=256)
    say(time.time(), "listening")
    while True:
        connection, peer = server.accept()
        with connection:
            connection.settimeout(args.timeout)
            try:
                connection.recv(4096)
                body = f"{peer[0]}\n".encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
                connection.sendall(head.encode() + body)
            except OSError:
                pass


def serve_udp(args):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", args.port))
    say(time.time(), "listening")
    while True:
        _, peer = sock.recvfrom(2048)
        sock.sendto(f"{peer[0]} {peer[1]}\n".encode(), peer)


def serve_talk(args):
    server = socket.create_server(("0.0.0.0", args.port), backlog=256)
    say(time.time(), "listening")
    while True:
        connection, _ = server.accept()
        threading.Thread(target=talk, args=(connection,), daemon=args.once is False).start()
        if args.once:
            server.close()
            say(time.time(), "closed the listener")
            return 0


def talk(connection):
    with connection:
        try:
            while data := connection.recv(4096):
                connection.sendall(data)
        except OSError:
            pass


QUESTION = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05echo1\x03lab\x00\x00\x01\x00\x01"


def dns(args):
    started = time.time()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(args.timeout)
        sock.sendto(QUESTION, (args.host, 53))
        say(started, f"ok {socket.inet_ntoa(sock.recv(512)[-4:])}")


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, words in {"tcp": ("host", "port"), "udp": ("host", "port"), "hold": ("host", "port"), "http": ("url",),
                        "serve": ("port",), "serve-udp": ("port",), "serve-talk": ("port",), "dns": ("host",)}.items():
        command = commands.add_parser(name)
        for word in words:
            command.add_argument(word, type=int if word == "port" else str)
        command.add_argument("--count", type=int, default=1)
        command.add_argument("--interval", type=float, default=0.2)
        command.add_argument("--bytes", type=int, default=0)
        command.add_argument("--source", default="")
        command.add_argument("--timeout", type=float, default=5)
        command.add_argument("--forever", action="store_true")
        command.add_argument("--once", action="store_true")
    args = parser.parse_args()
    if args.command == "udp":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind((args.source, 0))
            sock.settimeout(args.timeout)
            return repeat(args, lambda: udp(args, sock))
    single = {"hold": hold, "serve": serve, "serve-udp": serve_udp, "serve-talk": serve_talk}
    if args.command in single:
        return single[args.command](args)
    return repeat(args, lambda: {"tcp": tcp, "http": http, "dns": dns}[args.command](args))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
