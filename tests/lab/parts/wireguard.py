"""WireGuard: the kernel's devices, and wireguard-go where the kernel has none.

wireguard-go's socket (https://www.wireguard.com/xplatform/) speaks hexadecimal keys; objects and wg(8) speak base64.
"""

import base64
import functools
import os
import re
import socket

from . import host


class Key:
    """A key pair."""

    def __init__(self):
        raw = bytearray(os.urandom(32))
        raw[0] &= 248
        raw[31] = raw[31] & 127 | 64
        self.private = bytes(raw)
        text = host.run(["wg", "pubkey"], stdin=base64.b64encode(self.private).decode())
        self.public = base64.b64decode(text)
        self.public_text = text.strip()


@functools.cache
def in_kernel():
    """Does this kernel have WireGuard? Asked in a namespace that goes with the question."""
    try:
        host.run(["unshare", "--net", "ip", "link", "add", "wg0", "type", "wireguard"])
        return True
    except host.LabError:
        return False


class KernelTunnel:
    """A device of the kernel: its UDP socket stays in the namespace where it was made, wherever the device goes."""

    def __init__(self, name, net):
        self.name, self.net, self.device = name, net, name
        host.ip(net, "link", "add", name, "type", "wireguard")

    def ready(self):
        return self

    def moved(self, net, device=None):
        """It was moved to another namespace, and perhaps renamed."""
        self.net, self.device = net, device or self.device

    def _wg(self, *args, stdin=None):
        with host.inside(self.net):
            return host.run(["wg", *args], stdin=stdin)

    def _dump(self):
        return [line.split("\t") for line in self._wg("show", self.device, "dump").splitlines()]

    def listen_port(self):
        return int(self._dump()[0][2])

    def peers(self):
        """As wireguard-go's: {public key: {field: value}}; allowed_ip is a list."""
        peers = {}
        for key, _, endpoint, allowed, handshake, received, sent, _ in self._dump()[1:]:
            peer = peers[base64.b64decode(key)] = {"allowed_ip": [] if allowed == "(none)" else allowed.split(",")}
            if endpoint != "(none)":
                peer["endpoint"] = endpoint
            peer.update(last_handshake_time_sec=handshake, rx_bytes=received, tx_bytes=sent)
        return peers

    def configure(self, key, port=None):
        self._wg("set", self.device, "private-key", "/dev/stdin", *(["listen-port", str(port)] if port else []),
                 stdin=base64.b64encode(key.private).decode() + "\n")

    def set_peer(self, public, allowed, endpoint=None, fresh=False):
        """`fresh` forgets the session of the peer first, in the same message."""
        peer = ["peer", base64.b64encode(public).decode()]
        words = [*peer, "remove"] if fresh else []
        words += [*peer, *(["endpoint", endpoint] if endpoint else []), "allowed-ips", ",".join(allowed)]
        self._wg("set", self.device, *words)

    def remove_peer(self, public):
        self._wg("set", self.device, "peer", base64.b64encode(public).decode(), "remove")

    def stop(self):
        host.ip(self.net, "link", "del", self.device, check=False)


class Tunnel:
    """One wireguard-go: a tunnel whose UDP socket stays where it was started."""

    def __init__(self, name, socket_dir, start):
        """start(argv) starts the process in the right namespaces."""
        self.name = name
        self.path = f"{socket_dir}/{name}.sock"
        self.process = start(["wireguard-go", "-f", name])

    def ready(self):
        host.wait_for(lambda: self._up() or not self.process.alive(), f"wireguard-go {self.name}", 10)
        if not self.process.alive():
            raise host.LabError(f"wireguard-go {self.name} ended: see {self.process.log}")
        return self

    def moved(self, net, device=None):
        """Its socket stays where it is."""

    def _up(self):
        try:
            self.get()
            return True
        except OSError:
            return False

    def _talk(self, text):
        # A path longer than sun_path would be refused; through the folder's descriptor it never is.
        folder = os.open(os.path.dirname(self.path), os.O_PATH | os.O_DIRECTORY)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(f"/proc/self/fd/{folder}/{os.path.basename(self.path)}")
                connection.sendall(text.encode() + b"\n")
                answer = b""
                while not answer.endswith(b"\n\n"):
                    piece = connection.recv(65536)
                    if not piece:
                        break
                    answer += piece
        finally:
            os.close(folder)
        answer = answer.decode()
        if not re.search(r"^errno=0$", answer, re.M):
            raise host.LabError(f"wireguard-go {self.name}: {text!r} answered {answer!r}")
        return answer

    def get(self):
        return self._talk("get=1\n")

    def set(self, *lines):
        self._talk("set=1\n" + "".join(line + "\n" for line in lines))

    def listen_port(self):
        return int(re.search(r"^listen_port=(\d+)$", self.get(), re.M).group(1))

    def peers(self):
        """{public key: {field: value}}; allowed_ip is a list."""
        peers, peer = {}, None
        for line in self.get().splitlines():
            field, _, value = line.partition("=")
            if field == "public_key":
                peer = peers[bytes.fromhex(value)] = {"allowed_ip": []}
            elif peer is not None and field == "allowed_ip":
                peer["allowed_ip"].append(value)
            elif peer is not None:
                peer[field] = value
        return peers

    def configure(self, key, port=None):
        self.set(f"private_key={key.private.hex()}", *([f"listen_port={port}"] if port else []))

    def set_peer(self, public, allowed, endpoint=None, fresh=False):
        """`fresh` forgets the session of the peer first, in the same transaction."""
        lines = [f"public_key={public.hex()}", "remove=true"] if fresh else []
        lines += [f"public_key={public.hex()}", "replace_allowed_ips=true"]
        lines += [f"endpoint={endpoint}"] if endpoint else []
        self.set(*lines, *[f"allowed_ip={cidr}" for cidr in allowed])

    def remove_peer(self, public):
        self.set(f"public_key={public.hex()}", "remove=true")

    def stop(self):
        if self.process.alive():
            self.process.kill()
        # Killed: it cannot remove its socket itself.
        if os.path.exists(self.path):
            os.unlink(self.path)
