"""Pods that kubelet started, in the lab: the daemon behind kube-egress-cni, which lays their tunnel to the gateway."""

import contextlib
import json
import os
import socket
import threading
import traceback

from machine import HarnessError
from parts import host, layout, objects
from parts.pod import TRAFFIC, Pod

DAEMON = ("127.0.0.1", 50051)  # socketPath of the conflist


class KubePod(Pod):
    """The lab's pod, but namespace, eth0 and cgroup are what kubelet, containerd and the ptp plugin made."""

    def __init__(self, lab, node, item, request):  # pylint: disable=super-init-not-called
        meta = item["metadata"]
        self.lab, self.node, self.name, self.namespace, self.uid = lab, node, meta["name"], meta["namespace"], meta["uid"]
        self.sgc = meta.get("annotations", {}).get(objects.ANNOTATION)
        self.labels, self.annotations, self.annotate, self.host_network = meta.get("labels", {}), {}, False, False
        self.created = self.started = meta["creationTimestamp"]
        self.phase, self.number = "Running", None
        self.gateway = lab.sgcs[self.namespace, self.sgc] if self.sgc else None
        self.tunnel = self.key = None
        self.alive, self.processes = True, []
        (self.ip,) = [ip["address"].split("/")[0] for ip in request["result"]["ips"]]
        # By its real path: /var/run is a link, and followed from outside it would lead into this machine's /run.
        self.container, self.netns_path = request["container"], request["netns"].replace("/var/run/", "/run/", 1)
        self.net = lab.free_net(self.name)
        self.ended = threading.Event()

    def up(self):
        # A namespace may be bound from another mount namespace, which no other file may (__do_loopback(), fs/namespace.c).
        target = f"{host.NETNS_DIR}/{self.net}"
        with open(target, "w", encoding="ascii"):
            pass
        host.mount_bind(self.node.path(self.netns_path), target)
        if self.gateway:
            self._lay_tunnel(self.lab.worker.start_tunnel(f"wg{self.container[:8]}"))
        return self

    def down(self):
        self.alive = False
        for process in self.processes:
            process.kill()
        if self.tunnel:
            self.tunnel.stop()
            for gateway in self.lab.gateways.values():
                gateway.remove_peer(self.gateway.port, self.key.public, self.ip)
        host.netns_delete(self.net)
        self.ended.set()

    @property
    def cgroup(self):
        """In v2, as kubelet's driver named it."""
        for folder, names, _ in os.walk(self.node.cgroup):
            for name in names:
                if self.uid in name or self.uid.replace("-", "_") in name:
                    return f"{folder}/{name}"
        raise HarnessError(f"no cgroup of {self.name}")

    def start(self, argv, name=None):
        # In the cgroup of a container of the pod, as what runs in it is.
        pod = self.cgroup
        container = next(entry for entry in sorted(os.listdir(pod)) if os.path.isdir(f"{pod}/{entry}") and self.container not in entry)
        process = host.Process(argv, cgroup=f"{pod}/{container}", net=self.net, mount_pid=self.lab.worker.holder.pid,
                               name=name or f"{self.name}:{os.path.basename(argv[0])}")
        self.processes.append(process)
        return process

    def traffic(self, *args):
        return self.start([self.lab.python, "-S", TRAFFIC, *map(str, args)], f"{self.name}:{args[0]}")


class Daemon:
    """Answers the plugin on the worker, as the daemon of kube-egress-gateway does: when it answered, the tunnel is laid."""

    def __init__(self, lab, node, admin):
        self.lab, self.node, self.admin = lab, node, admin
        self.by_container = {}
        with host.inside(lab.worker.net):
            self.server = socket.create_server(DAEMON)
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.server.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                request = json.loads(connection.makefile().readline())
                try:
                    problem = self._handle(request)
                except Exception:  # pylint: disable=broad-except
                    # It is kubelet's event then, and the test's timeout says so.
                    problem = traceback.format_exc()
                connection.sendall(json.dumps({"problem": problem}).encode() + b"\n")

    def _handle(self, request):
        container = request["container"]
        if request["command"] == "ADD":
            arguments = request["arguments"]
            item = self.admin.get("v1", "Pod", arguments["K8S_POD_NAMESPACE"], arguments["K8S_POD_NAME"])
            pod = KubePod(self.lab, self.node, item, request)
            self.by_container[container] = pod
            pod.up()
            self.lab.pods[pod.key_name] = pod
        elif request["command"] == "DEL" and container in self.by_container:
            pod = self.by_container.pop(container)
            pod.down()
            if self.lab.pods.get(pod.key_name) is pod:
                del self.lab.pods[pod.key_name]
        return None


def manifest(name, image, **spec):
    """A pod that serves, annotated for a gateway."""
    meta = {"name": name, "namespace": layout.NAMESPACE, "labels": {"app": name}, "annotations": {objects.ANNOTATION: "blue"}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": {
        "terminationGracePeriodSeconds": 2, "containers": [
            {"name": "main", "image": image, "args": ["echo", "--listen", "0.0.0.0:8080"],
             "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}], **spec}}
