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


def answer(agent, path):
    status, _, body = agent.raw("GET", path)
    return status, bool(json.loads(body)["metadata"].get("deletionTimestamp")) if status == 200 else False


def meant_for(pod):
    """The node that the controller of DaemonSets made it for."""
    wanted = pod["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    ((field,),) = (term["matchFields"] for term in wanted["nodeSelectorTerms"])
    assert field["key"] == "metadata.name"
    return field["values"][0]


class Cluster:
    """A control plane with two nodes that nobody runs: the test is scheduler and kubelet."""

    def __init__(self, server):
        self.server, self.admin = server, server.admin

    def pods(self):
        items = self.admin.list("v1", "Pod", NAME)["items"]
        return [dict(item, apiVersion="v1", kind="Pod") for item in items]

    def install(self):
        """Returns a pod of the agent."""
        self.server.kubectl("apply", "-k", shipped.DEPLOY)
        self.server.wait_rights(list(shipped.render().values()))
        wait_for(self.settled, "a pod for each node", 120, 0.05)
        for pod in self.pods():
            if not pod["spec"].get("nodeName"):
                target = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": pod["metadata"]["name"]},
                          "target": {"kind": "Node", "name": meant_for(pod)}}
                self.admin.request("POST", self.admin.path_of(pod, "binding"), target)
        return self.pods()[0]

    def ask(self, pod):
        """(status, whether it is being deleted) for each question, with a token of the pod that the server has not seen yet:
        it remembers for ten seconds that one is good, and the agent may have been silent for longer."""
        token = self.server.token(NAME, NAME, pod=pod)
        agent = Client(self.server.address, self.server.port, self.server.ca, token=token, name="agent")
        return lambda: [answer(agent, path) for path in QUESTIONS]

    def is_good(self, token):
        """What the server says of a token, once: a good one it remembers."""
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
        return self.admin.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"].get("authenticated", False)

    def settled(self):
        """Nothing is to be replaced any more."""
        self.end_pods()
        item = self.admin.get("apps/v1", "DaemonSet", NAME, NAME)
        status, pods = item.get("status", {}), self.pods()
        return status.get("observedGeneration") == item["metadata"]["generation"] and \
            status.get("updatedNumberScheduled") == len(pods) == len(NODES) and \
            not any(pod["metadata"].get("deletionTimestamp") for pod in pods)

    def end_pods(self):
        """As kubelet does when the containers of a deleted pod have ended."""
        for pod in self.pods():
            if pod["metadata"].get("deletionTimestamp"):
                with contextlib.suppress(ApiError):
                    self.admin.delete(pod)

    def told(self, pod, happens):
        """What ask() gives at the moment when kubelet would stop the agent."""
        meta, ask = pod["metadata"], self.ask(pod)
        events = self.admin.watch(f"/api/v1/namespaces/{NAME}/pods", timeout=120, resourceVersion=meta["resourceVersion"],
                                  fieldSelector=f"metadata.name={meta['name']}")
        with contextlib.closing(events):
            happens()
            for kind, seen in events:
                if kind == "DELETED" or seen["metadata"].get("deletionTimestamp"):
                    return ask()
        raise AssertionError("the watch ended before the pod did")

    def finish(self):
        """The namespace is gone, or was not deleted."""
        def gone():
            self.end_pods()
            try:
                return self.admin.get("v1", "Namespace", None, NAME)["status"]["phase"] == "Active"
            except ApiError as error:
                return error.status == 404
        wait_for(gone, "the namespace is gone", 180, 0.1)


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
    pod = cluster.install()
    happens = {"update": lambda: changed(cluster),
               "pod": lambda: cluster.server.kubectl("delete", "-n", NAME, "pod", pod["metadata"]["name"], "--wait=false")}
    answers = cluster.told(pod, happens[how])
    assert answers == [(200, False), (200, False)] and not is_removal(answers)
    cluster.finish()


def test_pod_deleted_by_force(cluster):
    """A successor comes, but it looks like the end: a token dies with its pod. That the pod itself is gone while the agent
    still runs is what tells this apart."""
    pod = cluster.install()
    tokens = [cluster.server.token(NAME, NAME, pod=pod) for _ in range(100)]

    def happens():
        cluster.admin.delete(pod)
        wait_for(lambda: not cluster.is_good(tokens.pop()), "the server itself knows that the pod is gone", pause=0.1)
    answers = cluster.told(pod, happens)
    assert answers == [(401, False), (401, False)]
    with pytest.raises(ApiError) as gone:
        cluster.admin.get("v1", "Pod", NAME, pod["metadata"]["name"])
    assert gone.value.status == 404
    cluster.finish()


@pytest.mark.parametrize("what", [("-k", shipped.DEPLOY), ("daemonset", "-n", NAME, NAME), ("namespace", NAME)],
                         ids=["kustomization", "daemonset", "namespace"])
def test_nobody_comes(cluster, what):
    """Each is told another way: an account that is gone, a DaemonSet that is, a namespace that ends. Both questions count:
    of a namespace that is deleted the pods go before the DaemonSet."""
    pod = cluster.install()
    assert not is_removal(cluster.ask(pod)()), "before"
    answers = cluster.told(pod, lambda: cluster.server.kubectl("delete", *what, "--wait=false"))
    print(answers)
    assert is_removal(answers), answers
    assert cluster.admin.get("v1", "Pod", NAME, pod["metadata"]["name"])["metadata"]["deletionTimestamp"]
    cluster.finish()
