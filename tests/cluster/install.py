"""The product in the cluster: installed as an operator does it, and asked what it did."""

import contextlib
import functools
import json
import os
import subprocess

import yaml
from cluster import GATEWAY, NAME, NOT_READY, OVERLAY, WORKER, ready_since
from machine import HarnessError, wait_for
from parts import host, layout
from parts.witness import unix

TALK = layout.TCP_TALK_PORT
# kubelet's and containerd's own, and what they keep of pods for a while. /run/netns: made with the first pod.
NOT_OURS = ("/run/containerd", "/var/lib/containerd", "/var/lib/kubelet", "/run/netns", "/var/lib/cni")


class Installed:
    """Before it was installed the nodes were looked at, see remains()."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.before = {name: files(node) for name, node in cluster.nodes.items()}
        cluster.kubectl("apply", "-k", OVERLAY)
        try:
            wait_for(cluster.rollout_done, "the DaemonSet is Ready on both nodes", 240, 0.05)
        except HarnessError as error:
            raise HarnessError(f"{error}\n{self.describe()}") from None
        self.ready_after = self._ready_after()
        # As upstream's controller does when the CNI plugin is there.
        self.tainted = [taint["key"] for taint in cluster.exists("v1", "Node", None, WORKER)["spec"]["taints"]]
        cluster.remove_taint(WORKER, NOT_READY)
        self.worker, self.gateway = cluster.agent(WORKER), cluster.agent(GATEWAY)

    def _ready_after(self):
        """Seconds from the first object until the last agent was Ready, as the API server noted them."""
        begin = unix(self.cluster.exists("v1", "Namespace", None, NAME)["metadata"]["creationTimestamp"])
        return max(unix(ready_since(pod)) for pod in self.cluster.agents()) - begin

    def describe(self):
        return self.cluster.kubectl("-n", NAME, "get", "pods", "-o", "wide", check=False)

    def run_pod(self, name):
        pod = self.cluster.run_pod(name)
        self.worker.wait_state(name, "verified", 60)
        return pod

    def delete_pod(self, name):
        self.cluster.kubectl("-n", layout.NAMESPACE, "delete", "pod", name)

    def bypass(self, pod, address):
        """The route by the tunnel is gone for a moment, and a program in the pod uses the moment."""
        self.cluster.lab.move_default_route(pod.name, "eth0")
        try:
            code, lines = pod.tcp(address, TALK, 3, interval=0.002)
            assert code == 0, lines
        finally:
            self.cluster.lab.move_default_route(pod.name, "wg0")
        assert lines[0].split()[-2] == layout.OUTBOUND_IP, lines

    def observed(self, name):
        """Returns when the agent sees the pod's packets."""
        self.worker.wait(lambda: (self.worker.subject(name) or {}).get("flowsObserved"), 60, f"{name} observed")

    def found(self, pod, address):
        """How many connections to this address a violation has as its evidence, open or resolved."""
        for violation in self.worker.violations(kind="gateway-bypass", pod=pod.name):
            for flow in violation["evidence"]["flows"]:
                if flow["destination"] == address:
                    return flow["connections"]
        return 0

    @contextlib.contextmanager
    def nobody_is_scheduled(self):
        """New pods stay Pending meanwhile, also those of a DaemonSet."""
        self.cluster.scheduler.pause()
        try:
            yield
        finally:
            self.cluster.scheduler.resume()

    def wait_gone(self, *names):
        """No agent runs on the worker, or on these nodes."""
        for agent in [self.cluster.agent(name) for name in names or (WORKER,)]:
            wait_for(lambda: not agent.answers() and not running(agent.node), f"the agent of {agent.node.name} ended")  # noqa: B023

    def schedule(self, node):
        """What the scheduler does, for agents of one node: new ones run there."""
        for pod in self.cluster.agents():
            if not pod["spec"].get("nodeName") and meant_for(pod) == node:
                target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                          "target": {"kind": "Node", "name": node}}
                self.cluster.admin.request("POST", self.cluster.admin.path_of({"apiVersion": "v1", "kind": "Pod", **pod}, "binding"), target)

    def events(self, pod):
        return [event for event in self.cluster.admin.list("events.k8s.io/v1", "Event", layout.NAMESPACE)["items"]
                if event["regarding"]["name"] == pod]

    # With less than it asks for

    def apply_without(self, folder, what, name):
        """An overlay over the overlay that takes a capability or a mount away; on the worker alone. Returns when the
        agent answers."""
        container = self._container()
        path, entries = {
            "capability": ("securityContext/capabilities/add", container["securityContext"]["capabilities"]["add"]),
            "mount": ("volumeMounts", [mount["name"] for mount in container["volumeMounts"]])}[what]
        patch = [{"op": "remove", "path": f"/spec/template/spec/containers/0/{path}/{entries.index(name)}"},
                 {"op": "add", "path": "/spec/template/spec/nodeSelector/kubernetes.io~1hostname", "value": WORKER}]
        with open(f"{folder}/kustomization.yaml", "w", encoding="ascii") as file:
            json.dump({"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization",
                       "resources": [os.path.relpath(OVERLAY, os.path.realpath(folder))],
                       "patches": [{"target": {"kind": "DaemonSet"}, "patch": json.dumps(patch)}]}, file)
        self.cluster.kubectl("apply", "-k", folder)
        wait_for(self._renewed, "the agent of the new template answers", 180, 0.05)

    @functools.lru_cache(maxsize=None)
    def _container(self):
        items = yaml.safe_load_all(self.cluster.kubectl("kustomize", OVERLAY))
        (item,) = [item for item in items if item["kind"] == "DaemonSet"]
        return item["spec"]["template"]["spec"]["containers"][0]

    def _renewed(self):
        """One agent in all, of the newest template, and it answers."""
        item, pods = self.cluster.exists("apps/v1", "DaemonSet", NAME, NAME), self.cluster.agents()
        if len(pods) != 1 or "deletionTimestamp" in pods[0]["metadata"] or \
                item["status"].get("observedGeneration") != item["metadata"]["generation"]:
            return False
        generation = pods[0]["metadata"]["labels"]["pod-template-generation"]
        return generation == item["metadata"]["annotations"]["deprecated.daemonset.template.generation"] and self.worker.answers()

    # What it leaves

    def programs(self):
        """(ids of links, ids of programs) that the agents pinned."""
        links, programs = set(), set()
        for agent in (self.worker, self.gateway):
            for pin in agent.pins():
                path = agent.node.path(f"/sys/fs/bpf/{pin}")
                if "/subjects/" not in pin:
                    continue
                try:
                    shown = json.loads(host.run(["bpftool", "-j", "link", "show", "pinned", path]))
                except host.LabError:
                    if os.path.exists(path):
                        raise
                    continue  # of a pod that has just gone
                links.add(shown["id"])
                programs.add(shown["prog_id"])
        return links, programs

    def remains(self):
        """Files of the nodes that were not there before."""
        return {name: sorted(files(node) - self.before[name]) for name, node in self.cluster.nodes.items()}


def meant_for(pod):
    """The node that the controller of DaemonSets made it for."""
    wanted = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    ((field,),) = (term["matchFields"] for term in wanted["nodeSelectorTerms"])
    return field["values"][0]


def loaded(kind, number):
    """Whether the kernel has a "link" or "prog" of this id."""
    return subprocess.run(["bpftool", kind, "show", "id", str(number)], capture_output=True).returncode == 0


def files(node):
    """Below the places where a program of a node may write; what the machine itself has there is none of the node's."""
    found = set()
    for root in ("/sys/fs/bpf", "/run", "/var/lib", "/etc", "/tmp"):
        base = node.path("")
        for folder, folders, names in os.walk(node.path(root)):
            inside = folder[len(base):]
            folders[:] = [name for name in folders if f"{inside}/{name}" not in NOT_OURS]
            found |= {path for name in [*folders, *names] if not _is_lower(path := f"{inside}/{name}")}
    return found


def _is_lower(path):
    return path.startswith(("/etc/", "/var/lib/")) and os.path.lexists(path)


def running(node):
    """Processes of the agent on the node."""
    found = []
    for pid in host.cgroup_pids(node.cgroup):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read().split(b"\0")
            if words[0].endswith(NAME.encode()) and words[1] == b"agent":
                found.append(pid)
    return found
