#!/usr/bin/python3
"""A real cluster in the lab: control plane in the fabric, kubelet and containerd on the worker and on one gateway node.

    with Cluster(archive) as cluster:            # archive: of `make image`
        cluster.kubectl("apply", "-k", OVERLAY)
        pod = cluster.run_pod("shop")            # annotated, wired by kube-egress-cni: a lab's pod (tests/lab)
        agent = cluster.agent("w1")              # what the agent there says, as in tests/lab
        cluster.lab.move_default_route("shop", "eth0")

    cluster.py clean                             # what crashed ones left; every start does it too
"""

import hashlib
import http.client
import io
import json
import os
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, *(f"{os.path.dirname(HERE)}/{folder}" for folder in ("lab", "kube", "deploy"))]

import lab as lab_module  # noqa: E402
import machine  # noqa: E402
import node as node_module  # noqa: E402
from apiserver import ApiServer  # noqa: E402
from client import ApiError  # noqa: E402
from machine import HarnessError, Program, wait_for  # noqa: E402
from node import PAUSE, ClusterNode  # noqa: E402
from parts import host, layout, objects  # noqa: E402
from parts.agent import Agent  # noqa: E402
from wired import Daemon, manifest  # noqa: E402
from world import prepared  # noqa: E402

OVERLAY = f"{HERE}/overlay"
NAME = "egress-verifier"
API_IP = "10.0.0.1"  # the service `kubernetes`: the server itself has this address, so that nobody needs kube-proxy
GATEWAY_MODE, NOT_READY = "kubeegressgateway.azure.com/mode", "egressgateway.kubernetes.azure.com/cni-not-ready"
WORKER, GATEWAY = layout.WORKER, "gw1"


def ready_since(item):
    """When a pod or node became Ready; None when it is not."""
    conditions = item.get("status", {}).get("conditions", [])
    return next((c["lastTransitionTime"] for c in conditions if c["type"] == "Ready" and c["status"] == "True"), None)


class ClusterApi(ApiServer):
    """At the service's address, with the admission that gives pods their token, and a way to kubelets."""

    def __init__(self, net):
        super().__init__(net=net, address=API_IP)
        self.port = self.admin.port = 443
        crt, key = self.certificate("kube-apiserver-kubelet-client", ["system:masters"])
        self.flags += [f"--kubelet-certificate-authority={self.serving.crt}", f"--kubelet-client-certificate={crt}",
                       f"--kubelet-client-key={key}", "--kubelet-preferred-address-types=InternalIP"]

    def _api_arguments(self):
        return [flag for flag in super()._api_arguments() if not flag.startswith("--disable-admission-plugins")]


class NodeAgent(Agent):
    """The agent of a node's pod, asked over the node's loopback."""

    def __init__(self, cluster, node):  # pylint: disable=super-init-not-called
        self.cluster, self.node, self.process = cluster, node, self

    def request(self, method, path, timeout=20, headers=None):
        connection = http.client.HTTPConnection("127.0.0.1", 9466, timeout=timeout)
        try:
            with host.inside(self.node.lab_node.net):
                connection.connect()
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        except http.client.HTTPException as error:
            raise OSError(f"{method} {path}: {error!r}") from error
        finally:
            connection.close()

    def alive(self):
        """Agents come and go here; the node stays."""
        return self.node.popen.poll() is None

    def answers(self):
        try:
            return self.request("GET", "/healthz")[0] == 200
        except OSError:
            return False

    def readiness(self):
        """(status, text) of /readyz."""
        status, _, body = self.request("GET", "/readyz")
        return status, body.decode()

    def kernel_stack(self):
        return "its pod"

    def pod(self):
        """Its pod, also while it ends; None when there is none on the node."""
        found = [item for item in self.cluster.agents() if item["spec"].get("nodeName") == self.node.name]
        return max(found, key=lambda item: "deletionTimestamp" not in item["metadata"], default=None)

    def log(self):
        pod = self.pod()
        return self.cluster.kubectl("-n", NAME, "logs", pod["metadata"]["name"], check=False) if pod else ""

    def pins(self):
        """What it pinned in the node's BPF file system."""
        root = self.node.path("/sys/fs/bpf")
        return sorted(os.path.relpath(os.path.join(folder, name), root) for folder, _, names in os.walk(f"{root}/{NAME}") for name in names)


class Cluster:
    """`systemd`: it is the nodes' first process and hands out the cgroups, as on AKS; else kubelet makes them itself."""

    def __init__(self, archive, systemd=False):
        self.archive, self.systemd, self.lab, self.server = archive, systemd, lab_module.Lab(pods=False), None
        self.programs, self.nodes, self.daemon = [], {}, None

    def __enter__(self):
        try:
            self._up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.stop()
        if self.daemon:
            self.daemon.close()
        for program in self.programs:
            program.kill()
        if self.server:
            self.server.close()
        number = self.lab.number
        if number is not None:
            # Processes first, all of which the lab knows; its lock is held until the rest is gone, too.
            host.cgroup_kill(self.lab.cgroup)
            node_module.remove_cgroups(number)
            self.lab.down()

    def _up(self):
        clean()
        self.lab.up()
        node_module.remove_cgroups(self.lab.number)
        fabric = self.lab.fabric.net
        host.ip(fabric, "addr", "add", f"{API_IP}/32", "dev", "lo")
        self.server = ClusterApi(f"{host.NETNS_DIR}/{fabric}").start()
        self.admin = self.server.admin
        self._start_controllers()
        self._make_images()
        worker = {"kubernetes.azure.com/mode": "user", "kubernetes.azure.com/agentpool": "userpool"}
        gateway = {"kubernetes.azure.com/mode": "gateway", "kubernetes.azure.com/agentpool": "gwpool", GATEWAY_MODE: "true"}
        lab_worker, lab_gateway = self.lab.worker, self.lab.gateways[GATEWAY]
        self.nodes = {
            WORKER: ClusterNode(self, lab_worker, worker, [(NOT_READY, "true")], {"/etc/cni/net.d": f"{lab_worker.dir}/etc/cni/net.d"}),
            GATEWAY: ClusterNode(self, lab_gateway, gateway, [(GATEWAY_MODE, "true")],
                                 {"/run/netns/ns-static-egress-gateway": f"{host.NETNS_DIR}/{lab_gateway.gwns}"})}
        for node in self.nodes.values():
            node.start()
        self.server.install_crds()
        self._declare()
        self.daemon = Daemon(self.lab, self.nodes[WORKER], self.admin)
        for name in self.nodes:
            wait_for(lambda: self.node_ready(name), f"{name} is Ready", 240, 0.1)  # noqa: B023
        wait_for(lambda: self.exists("v1", "ServiceAccount", layout.NAMESPACE, "default"), "the default account", 120, 0.05)

    def _start_controllers(self):
        server = self.server
        for name, user, flags in (
                ("kube-controller-manager", "system:kube-controller-manager", [
                    "--use-service-account-credentials=true", f"--service-account-private-key-file={server.sa_key}",
                    f"--root-ca-file={server.ca}", "--controllers=*,-node-ipam-controller", "--allocate-node-cidrs=false",
                    # Else the first default account comes five seconds late.
                    "--kube-api-qps=500", "--kube-api-burst=1000"]),
                ("kube-scheduler", "system:kube-scheduler", [])):
            config = server.kubeconfig(f"{server.dir}/{name}.kubeconfig", certificate=server.certificate(user))
            arguments = [f"--kubeconfig={config}", "--leader-elect=false", f"--cert-dir={server.dir}", *flags]
            program = Program(name, lambda arguments=arguments: arguments, server.dir, server.net)
            self.programs.append(program)
            program.start()
        self.scheduler = self.programs[-1]

    def _make_images(self):
        self.image_dir = f"{self.lab.dir}/images"
        os.makedirs(self.image_dir)
        os.link(self.archive, f"{self.image_dir}/agent.tar") if _same_device(self.archive, self.image_dir) else \
            host.run(["cp", self.archive, f"{self.image_dir}/agent.tar"])
        with tarfile.open(self.archive) as tar:
            (self.image,) = json.load(tar.extractfile("manifest.json"))[0]["RepoTags"]
        program = f"{self.lab.dir}/pause"
        host.run(["gcc", "-static", "-Os", "-s", "-o", program, f"{HERE}/pause.c"])
        write_image(f"{self.image_dir}/pause.tar", PAUSE, program)

    def _declare(self):
        """What the gateway's controllers would have written."""
        self.admin.namespace(layout.NAMESPACE)
        for sgc in self.lab.sgcs.values():
            self.admin.apply(prepared(objects.gateway(sgc)))
            self.admin.apply(prepared(objects.gateway_vm(sgc)))

    # Objects

    def kubectl(self, *args, **options):
        return self.server.kubectl(*args, **options)

    def exists(self, *where):
        try:
            return self.admin.get(*where)
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def node_ready(self, name):
        self.nodes[name].need_alive()
        item = self.exists("v1", "Node", None, name)
        return item and ready_since(item)

    def remove_taint(self, name, key):
        item = self.admin.get("v1", "Node", None, name)
        item.update(apiVersion="v1", kind="Node")
        kept = [taint for taint in item["spec"].get("taints", []) if taint["key"] != key]
        self.admin.patch(item, {"spec": {"taints": kept}})

    def agents(self):
        """The agent's pods."""
        try:
            return self.admin.list("v1", "Pod", NAME, labelSelector=f"app.kubernetes.io/name={NAME}")["items"]
        except ApiError:
            return []

    def agent(self, node):
        return NodeAgent(self, self.nodes[node])

    def rollout_done(self):
        """All agents are of the newest template, and Ready: also by their own word, which the DaemonSet's status follows."""
        item, pods = self.exists("apps/v1", "DaemonSet", NAME, NAME), self.agents()
        status = item.get("status", {}) if item else {}
        wanted = status.get("desiredNumberScheduled")
        return bool(wanted) and status.get("observedGeneration") == item["metadata"]["generation"] and \
            status.get("updatedNumberScheduled") == wanted == status.get("numberReady") == len(pods) and \
            all(ready_since(pod) and "deletionTimestamp" not in pod["metadata"] for pod in pods)

    def run_pod(self, name, timeout=120, **spec):
        """An annotated pod; returns when kubelet says it is Ready. `spec` is added to its own."""
        self.admin.create(manifest(name, self.image, **spec))

        def ready():
            return ready_since(self.admin.get("v1", "Pod", layout.NAMESPACE, name))
        try:
            wait_for(ready, f"{name} is Ready", timeout, 0.05)
        except HarnessError as error:
            raise HarnessError(f"{error}\n{self.kubectl('-n', layout.NAMESPACE, 'describe', 'pod', name, check=False)[-2500:]}") from None
        return self.lab.pods.get((layout.NAMESPACE, name))


def _same_device(*paths):
    return len({os.stat(path).st_dev for path in paths}) == 1


def write_image(path, name, program):
    """A docker archive of one program."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(program, os.path.basename(program))
    digest = hashlib.sha256(layer.getvalue()).hexdigest()
    config = {"architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine], "os": "linux",
              "config": {"Entrypoint": ["/" + os.path.basename(program)]},
              "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest]}}
    manifests = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for member, data in (("config.json", json.dumps(config).encode()), ("layer.tar", layer.getvalue()),
                             ("manifest.json", json.dumps(manifests).encode())):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def clean():
    """Removes what dead clusters left; the numbers of their labs."""
    dead = set(lab_module.clean())
    for number in node_module.cgroups_left():
        lock = host.lab_lock(number)
        if lock:
            node_module.remove_cgroups(number)
            host.lab_unlock(number, lock)
            dead.add(number)
    machine.remove_dead()
    return sorted(dead)


if __name__ == "__main__":
    if sys.argv[1:] != ["clean"]:
        sys.exit("usage: cluster.py clean    remove what crashed ones left")
    print("removed:", " ".join(map(str, clean())) or "nothing")
