"""A node: containerd and kubelet in namespaces and a cgroup of their own, in the lab's network namespace of that node."""

import contextlib
import json
import os
import re
import subprocess


import programs
from machine import HarnessError, wait_for
from parts import host, layout

HERE = os.path.dirname(os.path.abspath(__file__))
PAUSE = "localhost/pause:1"
CONTAINERD = """version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "%(pause)s"
  # The machine's root may lack CAP_SYS_RESOURCE, and then no sandbox would start.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = %(systemd)s
"""
# A gateway node's pods are the node's own: this is there for kubelet, which is not Ready without a network.
CNI = {"cniVersion": "0.3.1", "name": "azure", "plugins": [
    {"type": "ptp", "mtu": 1500, "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.60.3.0/24"}]],
                                          "routes": [{"dst": "0.0.0.0/0"}]}}]}


def hierarchies():
    """Where this process is in each cgroup hierarchy: {folder below /sys/fs/cgroup: (path, kind, mount options)}."""
    mounts, found = {}, {}
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        for line in file:
            left, _, right = line.rstrip("\n").partition(" - ")
            kind, _, options = right.split(" ", 2)
            if kind in ("cgroup", "cgroup2"):
                mounts[left.split()[4]] = (kind, options.split(","))
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            for where, (kind, options) in mounts.items():
                if kind == "cgroup2" and not controllers:
                    found["unified"] = (os.path.normpath(where), kind, "")
                elif kind == "cgroup" and controllers and set(controllers.split(",")) <= set(options):
                    text = ("none," if "=" in controllers else "") + controllers
                    found[os.path.basename(where)] = (os.path.normpath(where + path), kind, text)
    if "memory" not in found:
        raise HarnessError("no memory controller of cgroup v1 here: nodes of cgroup v2 alone are not written")
    return found


def remove_tree(path):
    """Of a cgroup: only its folders can be removed. Whether all are gone."""
    for folder, _, _ in os.walk(path, topdown=False):
        with contextlib.suppress(OSError):
            os.rmdir(folder)
    return not os.path.isdir(path)


def cgroups_left():
    """Numbers of labs whose nodes have, or left, cgroups in a hierarchy of v1."""
    found = set()
    for path, kind, _ in hierarchies().values():
        if kind == "cgroup":
            found |= {int(match.group(1)) for match in map(re.compile(r"evlab(\d+)-").match, os.listdir(path)) if match}
    return found


def remove_cgroups(number):
    """What the nodes of lab `number` left in the hierarchies of cgroup v1; the lab removes its own in v2 with all processes."""
    for path, kind, _ in hierarchies().values():
        if kind == "cgroup":
            for name in os.listdir(path):
                if name.startswith(f"evlab{number}-"):
                    wait_for(lambda: remove_tree(f"{path}/{name}"), f"{path}/{name} is empty")  # noqa: B023


class ClusterNode:
    """`labels` and `taints` as kubelet registers them: {key: value} and [(key, value)], NoSchedule."""

    def __init__(self, cluster, lab_node, labels, taints, binds):
        self.cluster, self.lab_node, self.name, self.address = cluster, lab_node, lab_node.name, lab_node.address
        self.lab, self.server = cluster.lab, cluster.server
        self.dir = f"{self.lab.dir}/{self.name}-node"
        self.labels, self.taints = labels, taints
        # Wherever the work tree is: below /tmp or on a file system of its own the node's root would not show it.
        self.binds = {"/tests": HERE, "/logs": f"{self.dir}/logs", "/images": cluster.image_dir, "/opt/kubernetes": programs.folder(),
                      "/etc/kubernetes": f"{self.dir}/kubernetes", "/etc/ssl/certs/ca-certificates.crt":
                      f"{lab_node.dir}/etc/ssl/certs/ca-certificates.crt", **binds}
        self.popen = None

    # Life

    def start(self):
        for folder in ("logs", "kubernetes"):
            os.makedirs(f"{self.dir}/{folder}")
        self._write_kubelet()
        groups = self._make_cgroups()
        spec = {
            "name": self.name, "folder": self.dir, "logs": "/logs", "binds": self.binds, "systemd": self.cluster.systemd,
            "cgroups": {name: [kind, options] for name, (_, kind, options) in hierarchies().items()},
            "images": [f"/images/{name}" for name in sorted(os.listdir(self.cluster.image_dir))],
            "programs": {"/opt/cni/bin/kube-egress-cni": "/tests/kube-egress-cni"},
            "files": {
                "/etc/containerd/config.toml": CONTAINERD % {"pause": PAUSE, "systemd": str(self.cluster.systemd).lower()}, "/etc/hostname": f"{self.name}\n",
                "/etc/hosts": f"127.0.0.1 localhost\n{self.address} {self.name}\n",
                "/etc/resolv.conf": f"nameserver {layout.DNS_IP}\n",
                **({} if "/etc/cni/net.d" in self.binds else {"/etc/cni/net.d/10-azure.conflist": json.dumps(CNI)})},
            "services": {
                "containerd": ["/usr/bin/containerd", "--config", "/etc/containerd/config.toml", "--log-level", "warn"],
                "kubelet": ["/opt/kubernetes/kubelet", "--config=/etc/kubernetes/kubelet.json",
                            "--kubeconfig=/etc/kubernetes/kubeconfig", f"--hostname-override={self.name}",
                            f"--node-ip={self.address}", "--node-labels=" + ",".join(f"{k}={v}" for k, v in self.labels.items())]}}
        with open(f"{self.dir}/spec.json", "w", encoding="ascii") as file:
            json.dump(spec, file)
        # In its cgroups before it has one of its own; ended by the kernel when this process ends, however.
        join = 'for group in $0; do echo $$ >"$group/cgroup.procs" || exit; done; exec "$@"'
        argv = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", join, " ".join(groups),
                "nsenter", f"--net={host.NETNS_DIR}/{self.lab_node.net}", "--",
                "unshare", "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--fork", "--kill-child", "--",
                self.lab.python, f"{HERE}/node_init.py", f"{self.dir}/spec.json"]
        with open(f"{self.dir}/logs/init.log", "ab") as log:
            self.popen = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                                          env={"PATH": os.environ["PATH"], "HOME": "/root"})
        self.pid = wait_for(self._child, f"{self.name} begins")
        return self

    def _child(self):
        self.need_alive()
        with open(f"/proc/{self.popen.pid}/task/{self.popen.pid}/children", encoding="ascii") as file:
            children = file.read().split()
        return int(children[0]) if children else None

    def need_alive(self):
        if self.popen.poll() is not None:
            raise HarnessError(f"node {self.name} ended:\n{self.log('init')[-2000:]}")

    def stop(self):
        """Power loss."""
        if self.popen:
            self.popen.kill()
            self.popen.wait(60)

    def _make_cgroups(self):
        groups = []
        for path, kind, _ in hierarchies().values():
            # Beside the lab's own in v2: the lab finds and ends all its processes there.
            own = f"{self.lab.cgroup}/{self.name}" if kind == "cgroup2" else f"{path}/evlab{self.lab.number}-{self.name}"
            os.makedirs(own)
            for name in ("cpuset.cpus", "cpuset.mems"):  # an empty one takes nobody
                if os.path.exists(f"{own}/{name}"):
                    with open(f"{path}/{name}", encoding="ascii") as source, open(f"{own}/{name}", "w", encoding="ascii") as file:
                        file.write(source.read())
            groups.append(own)
        return groups

    def _write_kubelet(self):
        folder, server = f"{self.dir}/kubernetes", self.server
        crt, key = server.serving.issue(f"kubelet-{self.name}", self.name, names=[self.name, self.address])
        for source, name in ((crt, "kubelet.crt"), (key, "kubelet.key"), (server.clients.crt, "clients.crt")):
            with open(source, "rb") as old, open(f"{folder}/{name}", "wb") as new:
                new.write(old.read())
        server.kubeconfig(f"{folder}/kubeconfig",
                          certificate=server.certificate(f"system:node:{self.name}", ["system:nodes"]))
        config = {
            "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1", "failCgroupV1": False, "failSwapOn": False,
            "cgroupDriver": "systemd" if self.cluster.systemd else "cgroupfs", "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
            "clusterDNS": [layout.DNS_IP], "clusterDomain": "cluster.local", "resolvConf": "/etc/resolv.conf",
            "tlsCertFile": "/etc/kubernetes/kubelet.crt", "tlsPrivateKeyFile": "/etc/kubernetes/kubelet.key",
            "authentication": {"anonymous": {"enabled": False}, "webhook": {"enabled": True},
                               "x509": {"clientCAFile": "/etc/kubernetes/clients.crt"}},
            "authorization": {"mode": "Webhook"}, "protectKernelDefaults": True, "makeIPTablesUtilChains": False,
            "imageGCHighThresholdPercent": 100, "maxPods": 30,
            "evictionHard": {"memory.available": "64Mi", "nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
            "registerWithTaints": [{"key": key, "value": value, "effect": "NoSchedule"} for key, value in self.taints]}
        with open(f"{folder}/kubelet.json", "w", encoding="ascii") as file:
            json.dump(config, file)

    # Inside

    @property
    def cgroup(self):
        """Its cgroup in v2, as this machine sees it."""
        return f"{self.lab.cgroup}/{self.name}"

    def path(self, path):
        """A path of the node as this machine reaches it."""
        return f"/proc/{self.pid}/root{path}"

    def run(self, *argv, check=True):
        """Standard output of a command on the node."""
        enter = ["nsenter", "-t", str(self.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--root", "--wd", "--"]
        return host.run([*enter, *argv], check=check)

    def log(self, name):
        try:
            with open(f"{self.dir}/logs/{name}.log", encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""


