"""What the API server tells the agent that is told to stop, with the account and the rights of deploy/ and the real
controllers: an update must look like one, and a removal like one, whatever goes first."""

import contextlib
import json

import pytest
import shipped
from apiserver import ApiServer, Program, wait_for
from client import ApiError, Client

NAME = "egress-verifier"
NODES = ("w1", "g1")
QUESTIONS = (f"/apis/apps/v1/namespaces/{NAME}/daemonsets/{NAME}", f"/api/v1/namespaces/{NAME}")


def node(name):
    room = {"cpu": "4", "memory": "8Gi", "pods": "110"}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "capacity": room, "allocatable": room}}


class Cluster:
    """A control plane with two nodes that nobody runs: the test is scheduler and kubelet."""

    def __init__(self, server):
        self.server, self.admin = server, server.admin

    def pods(self):
        items = self.admin.list("v1", "Pod", NAME)["items"]
        return [dict(item, apiVersion="v1", kind="Pod") for item in items]

    def install(self):
        """Returns the pod of the agent on the first node, and its client, whose token is that pod's."""
        self.server.kubectl("apply", "-k", shipped.DEPLOY)
        wait_for(lambda: len(self.pods()) == len(NODES), "a pod for each node", 30)
        for pod, name in zip(self.pods(), NODES):
            if not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                          "target": {"kind": "Node", "name": name}}
                self.admin.request("POST", self.admin.path_of(pod, "binding"), target)
        pod = self.pods()[0]
        token = self.server.token(NAME, NAME, pod=pod)
        return pod, Client(self.server.address, self.server.port, self.server.ca, token=token, name="agent")

    def told(self, pod, agent, happens):
        """(status, whether it is being deleted) for each question, at the moment when kubelet would stop the agent."""
        meta = pod["metadata"]
        events = self.admin.watch(f"/api/v1/namespaces/{NAME}/pods", timeout=30, resourceVersion=meta["resourceVersion"],
                                  fieldSelector=f"metadata.name={meta['name']}")
        with contextlib.closing(events):
            happens()
            for _, seen in events:
                if seen["metadata"].get("deletionTimestamp"):
                    return [self.ask(agent, path) for path in QUESTIONS]
        raise AssertionError("the watch ended before the pod did")

    @staticmethod
    def ask(agent, path):
        status, _, body = agent.raw("GET", path)
        return status, bool(json.loads(body)["metadata"].get("deletionTimestamp")) if status == 200 else False

    def finish(self):
        """What kubelet would: its pods are gone at last, and with them what waited for that."""
        def gone():
            for pod in self.pods():
                if pod["metadata"].get("deletionTimestamp"):
                    with contextlib.suppress(ApiError):
                        self.admin.delete(pod)
            try:
                namespace = self.admin.get("v1", "Namespace", None, NAME)
            except ApiError as error:
                return error.status == 404
            return namespace["status"]["phase"] == "Active" and \
                not any(pod["metadata"].get("deletionTimestamp") for pod in self.pods())
        wait_for(gone, "the agent's pods are gone", 60, 0.1)


@pytest.fixture(scope="module")
def cluster():
    try:
        shipped.programs.folder()
    except shipped.Unavailable as reason:
        pytest.skip(str(reason))
    with ApiServer() as server:
        server.install_crds()
        access = server.kubeconfig(f"{server.dir}/controllers.kubeconfig", certificate=server.admin.certificate)
        controllers = Program("kube-controller-manager", lambda: [
            f"--kubeconfig={access}", "--leader-elect=false", "--secure-port=0", "--kube-api-qps=500", "--kube-api-burst=1000",
            "--controllers=daemonset-controller,namespace-controller,garbage-collector-controller"], server.dir, None)
        controllers.start()
        try:
            for name in NODES:
                server.admin.apply(node(name))
            yield Cluster(server)
        finally:
            controllers.kill()


def is_removal(answers):
    return any(status in (401, 403, 404) or deleted for status, deleted in answers)


def changed(cluster):
    """A new template, as a new image is one."""
    template = {"metadata": {"annotations": {"changed": "yes"}}}
    cluster.admin.patch(cluster.admin.get("apps/v1", "DaemonSet", NAME, NAME), {"spec": {"template": template}})


@pytest.mark.parametrize("how", ["update", "pod"])
def test_successor_comes(cluster, how):
    pod, agent = cluster.install()
    happens = {"update": lambda: changed(cluster),
               "pod": lambda: cluster.server.kubectl("delete", "-n", NAME, "pod", pod["metadata"]["name"], "--wait=false")}
    answers = cluster.told(pod, agent, happens[how])
    assert answers == [(200, False), (200, False)] and not is_removal(answers)
    cluster.finish()


@pytest.mark.parametrize("what", [("-k", shipped.DEPLOY), ("daemonset", "-n", NAME, NAME), ("namespace", NAME)],
                         ids=["kustomization", "daemonset", "namespace"])
def test_nobody_comes(cluster, what):
    """Each is told another way: rights that are gone, a DaemonSet that is, a namespace that ends. Both questions count:
    of a namespace that is deleted the pods go before the DaemonSet."""
    pod, agent = cluster.install()
    assert not is_removal([cluster.ask(agent, path) for path in QUESTIONS]), "before"
    answers = cluster.told(pod, agent, lambda: cluster.server.kubectl("delete", *what, "--wait=false"))
    print(answers)
    assert is_removal(answers), answers
    cluster.finish()
