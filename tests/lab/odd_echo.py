#!/usr/bin/python3
"""Echoes that misbehave, one port per kind; plus talkers for TCP and UDP, and STUN.

    odd_echo.py FOLDER      FOLDER has server.crt, other.crt, untrusted.crt and their keys

On 192.0.2.14: port 80 and 443 choose the kind by path (/500, /html, …), the
ports of PORTS have one kind each, TLS at +100. The kinds:
"""

import asyncio
import ssl
import struct
import sys

from parts import layout

KINDS = {
    "ok": "the truth",
    "lie": "a constant address that nobody has", "lie2": "another one",
    "500": "status 500", "404": "status 404", "429": "status 429 with Retry-After: 60",
    "busy": "status 429 with Retry-After: 2",
    "html": "an HTML page that contains the right address",
    "big": "10 MB of digits and dots",
    "two": "two addresses in one answer",
    "private": "10.1.2.3", "ipv6": "2001:db8::1", "empty": "no body", "garbage": "bytes that are no text",
    "redirect": "302 to an echo that would tell the truth",
    "headers": "64 kB of headers",
    "slow": "the answer after 30 s", "drip": "one byte a second", "hang": "accepts and says nothing",
    "reset": "resets the connection after the request",
    "untrusted": "a certificate of an unknown authority (HTTPS)",
    "wrongname": "a certificate for another name (HTTPS)",
    "down": "connection refused",
}
PORTS = {kind: 8000 + index for index, kind in enumerate(KINDS)}
STUN_LIE_PORT = 8478
CLOSED_PORT = 7
PIECE = 65536
BIG = b"192.0.2.1 " * 1048576


def targets(kind):
    """Where connections to an echo of this kind go: {port: "ADDRESS:PORT"}."""
    if kind not in KINDS:
        raise ValueError(f"{kind}: no such fault; there are dead, {', '.join(KINDS)}")
    ip = layout.ODD_IP
    if kind == "down":
        return {port: f"{ip}:{CLOSED_PORT}" for port in (80, 443, layout.STUN_PORT)}
    stun = {layout.STUN_PORT: f"{ip}:{STUN_LIE_PORT}"} if kind == "lie" else {}
    if kind in ("hang", "slow"):
        stun = {layout.STUN_PORT: f"{ip}:{CLOSED_PORT}"}
    return {80: f"{ip}:{PORTS[kind]}", 443: f"{ip}:{PORTS[kind] + 100}", **stun}


def form(path, ip):
    """The answer in the form that the path asks for, as the good echoes do it."""
    if path.startswith("/json"):
        return "application/json", f'{{"ip":"{ip}"}}\n'.encode()
    if path.startswith("/trace"):
        return "text/plain", f"fl=1\nip={ip}\nts=1\n".encode()
    return "text/plain", f"{ip}\n".encode()


def answer(kind, path, ip):
    """Status line, headers and body as bytes."""
    said = {"lie": layout.LIE_IP, "lie2": layout.LIE2_IP, "private": "10.1.2.3", "ipv6": "2001:db8::1",
            "two": f"{ip}, {layout.LIE_IP}"}
    content_type, body = form(path, said.get(kind, ip))
    status = {"500": "500 Internal Server Error", "404": "404 Not Found", "429": "429 Too Many Requests",
              "busy": "429 Too Many Requests",
              "redirect": "302 Found"}.get(kind, "200 OK")
    more = {"429": "Retry-After: 60\r\n", "busy": "Retry-After: 2\r\n",
            "redirect": f"Location: http://{layout.ECHOES['echo1']}/\r\n",
            "headers": "".join(f"X-{n}: {'x' * 1000}\r\n" for n in range(64))}.get(kind, "")
    if kind == "html":
        content_type, body = "text/html", f"<html><body><h1>Login</h1>{ip}</body></html>\n".encode()
    elif kind == "big":
        body = BIG
    elif kind == "empty":
        body = b""
    elif kind == "garbage":
        body = bytes(range(256))
    head = f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{more}"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode(), body


async def serve_http(fixed, reader, writer):
    try:
        request = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)).decode("latin-1")
        path = request.split(" ")[1]
        parts = path.strip("/").split("/")
        kind = fixed or (parts[0] if parts[0] in KINDS else "ok")
        form_path = path if fixed or kind == "ok" else "/" + "/".join(parts[1:])
        head, body = answer(kind, form_path, writer.get_extra_info("peername")[0])
        if kind == "hang":
            await asyncio.sleep(3600)
        elif kind == "slow":
            await asyncio.sleep(30)
        elif kind == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(1, 13, struct.pack("ii", 1, 0))  # SOL_SOCKET, SO_LINGER
            writer.transport.abort()
            return
        writer.write(head)
        if kind == "drip":
            for byte in body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(1)
        else:
            # In pieces: megabytes that nobody reads must not cost the answers of others their time.
            for begin in range(0, len(body), PIECE):
                writer.write(body[begin:begin + PIECE])
                await writer.drain()
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError, IndexError):
        pass
    finally:
        writer.close()


async def serve_talk(reader, writer):
    try:
        ip, port = writer.get_extra_info("peername")[:2]
        writer.write(f"from {ip} {port}\n".encode())
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


class Talk(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, addr):
        self.transport.sendto(f"{addr[0]} {addr[1]}\n".encode(), addr)


class Stun(Talk):
    """A Binding response (RFC 8489) with XOR-MAPPED-ADDRESS."""

    def __init__(self, lie=None):
        self.lie = lie

    def datagram_received(self, data, addr):
        if len(data) < 20 or data[:2] != b"\0\1" or data[4:8] != b"\x21\x12\xa4\x42":
            return
        ip = bytes(int(n) for n in (self.lie or addr[0]).split("."))
        value = struct.pack("!BBH", 0, 1, addr[1] ^ 0x2112) + bytes(a ^ b for a, b in zip(ip, data[4:8]))
        attribute = struct.pack("!HH", 0x20, 8) + value
        self.transport.sendto(struct.pack("!HH", 0x101, len(attribute)) + data[4:20] + attribute, addr)


def context(folder, name):
    result = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    result.load_cert_chain(f"{folder}/{name}.crt", f"{folder}/{name}.key")
    return result


async def main(folder):
    good = context(folder, "server")
    special = {"untrusted": context(folder, "untrusted"), "wrongname": context(folder, "other")}

    async def listen(kind, port, tls=None):
        async def client(reader, writer):
            await serve_http(kind, reader, writer)
        await asyncio.start_server(client, layout.ODD_IP, port, ssl=tls, backlog=1024)

    for kind, port in PORTS.items():
        await listen(kind, port)
        await listen(kind, port + 100, special.get(kind, good))
    loop = asyncio.get_running_loop()
    for ip in [*layout.ECHOES.values(), layout.ODD_IP]:
        await asyncio.start_server(serve_talk, ip, layout.TCP_TALK_PORT, backlog=1024)
        await loop.create_datagram_endpoint(Talk, (ip, layout.TCP_TALK_PORT))
        await loop.create_datagram_endpoint(Stun, (ip, layout.STUN_PORT))
    await loop.create_datagram_endpoint(lambda: Stun(layout.LIE_IP), (layout.ODD_IP, STUN_LIE_PORT))
    await listen(None, 443, good)
    await listen(None, 80)  # last: who waits for it finds everything
    await asyncio.Event().wait()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__ + "\n".join(f"  {kind:10} {what}" for kind, what in KINDS.items()))
    asyncio.run(main(sys.argv[1]))
