"""Told to end, the agent leaves its packet programs to a successor, or takes them along, by what the API server says."""

import os
import signal

import pytest

from machine import wait_for
from world import ACCOUNT, World, layout

NAMESPACE, NAME = ACCOUNT
POD = "egress-verifier-x7k2p"
DAEMONSET = {
    "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"namespace": NAMESPACE, "name": NAME},
    "spec": {"selector": {"matchLabels": {"app": NAME}}, "template": {
        "metadata": {"labels": {"app": NAME}}, "spec": {"containers": [{"name": "agent", "image": "x"}]}}},
}
OWN_POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": NAMESPACE, "name": POD},
           "spec": {"nodeName": layout.WORKER, "containers": [{"name": "agent", "image": "x"}]}}
ROLES = ("ClusterRoleBinding", None), ("RoleBinding", NAMESPACE)


@pytest.fixture(scope="module")
def world():
    with World() as made:
        yield made


def take_rights(world):
    """Returns when the API server acts by it: it decides by copies of its own, which follow."""
    client = world.server.client(token=world.server.token(*ACCOUNT))
    for kind, namespace in ROLES:
        meta = {"name": NAME, **({"namespace": namespace} if namespace else {})}
        world.admin.delete({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta})
    wait_for(lambda: not may(client, "daemonsets", "apps") and not may(client, "namespaces"), "the rights are gone")


def nothing(world):
    pass


def daemonset_deleted(world):
    world.admin.delete(DAEMONSET)


def namespace_deleted(world):
    # No controller runs that would empty it, so it stays in that state.
    world.admin.delete({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})


def rights_deleted(world):
    take_rights(world)


def pod_deleted_by_force(world):
    world.admin.delete(OWN_POD)
    take_rights(world)  # the same as the end of the token that was the pod's


def server_away(world):
    world.server.api.kill()


def server_deaf(world):
    world.server.api.pause()


def start(world, name):
    """Knows that it may ask, and has programs in the kernel."""
    world.admin.apply(DAEMONSET)
    world.admin.apply(OWN_POD)
    agent = world.agent(start=False, name=name)
    agent.env |= {"POD_NAMESPACE": NAMESPACE, "POD_NAME": POD, "DAEMONSET_NAME": NAME}
    mark = world.server.audit_mark()
    agent.start()
    agent.wait_ready(60)
    agent.wait(lambda: world.requests(mark, verb="get", resource="apps/daemonsets", code=200), 60, "it learns that it may ask")
    agent.wait(lambda: agent.subject("pa")["flowsObserved"] and agent.subject("pb")["flowsObserved"], 60, "programs")
    assert agent.pins()
    agent.logged = len(agent.log())
    return agent


def may(client, resource, group=""):
    """Whether the API server lets the agent ask for it by now."""
    return client.can_i("get", resource, group, NAMESPACE, NAME)


def last_words(agent):
    """What it logged after it was started."""
    return agent.log()[agent.logged:]


def test_a_refusal_of_a_moment_is_asked_again(world):
    """As of an API server that has begun just now and does not know yet who may what."""
    agent = start(world, "moment")
    before, worker = agent.pins(), agent.worker()
    take_rights(world)
    try:
        mark = world.server.audit_mark()
        agent.process.signal(signal.SIGTERM)
        wait_for(lambda: world.requests(mark, verb="get", resource="apps/daemonsets", code=403), "the refusal")
        # It asks again after a second. The rights come back in that second, however long that takes here.
        os.kill(worker, signal.SIGSTOP)
    finally:
        world.give_rights()
    os.kill(worker, signal.SIGCONT)
    assert agent.process.wait(60) == 0
    assert "the DaemonSet is to stay" in last_words(agent), agent.log()[-800:]
    assert agent.pins() == before


def test_rights_without_the_namespace_are_no_end(world):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": NAME, "namespace": NAMESPACE}}
    agent = start(world, "half")
    before = agent.pins()
    world.admin.patch(role, {"rules": [{"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]}]})
    try:
        client = world.server.client(token=world.server.token(*ACCOUNT))
        wait_for(lambda: not may(client, "namespaces") and may(client, "daemonsets", "apps"), "the right is gone")
        assert agent.stop(timeout=60) == 0
    finally:
        world.give_rights()
    assert "its Namespace may not be asked for" in last_words(agent), agent.log()[-800:]
    assert agent.pins() == before


ROWS = [
    (nothing, True, "the DaemonSet is to stay"),
    (daemonset_deleted, False, "the DaemonSet is removed"),
    (rights_deleted, False, "the agent's rights were removed"),
    (pod_deleted_by_force, True, "the agent's pod was deleted by force"),
    (server_away, True, "the API server does not tell"),
    (server_deaf, True, "the API server does not answer"),
    (namespace_deleted, False, "the Namespace is removed"),  # last: it does not come back
]


@pytest.mark.parametrize("what, stay, reason", ROWS, ids=[row[0].__name__ for row in ROWS])
def test_programs_stay_or_go(world, what, stay, reason):
    agent = start(world, what.__name__.replace("_", "-"))
    before = agent.pins()
    try:
        what(world)
        if what is pod_deleted_by_force:
            # A pod that is seen later: then this one was seen to go.
            world.admin.apply({**OWN_POD, "metadata": {**OWN_POD["metadata"], "name": "later", "annotations": {
                "kubernetes.azure.com/static-gateway-configuration": "blue"}}})
            agent.wait(lambda: agent.subject("later", NAMESPACE), 60)
            world.admin.delete({**OWN_POD, "metadata": {**OWN_POD["metadata"], "name": "later"}})
        assert agent.stop(timeout=60) == 0
        assert reason in last_words(agent), agent.log()[-800:]
        # The file system's own are always there.
        left = [path for path in agent.pins() if not path.endswith(".debug")]
        assert (agent.pins() == before) if stay else not left, left
    finally:
        if what is server_deaf:
            world.server.api.resume()
        world.server.start()
        world.admin.forget_connections()
        if what in (rights_deleted, pod_deleted_by_force):
            world.give_rights()


def test_without_its_names_they_stay(world):
    agent = world.agent(name="nameless")
    agent.wait_ready(60)
    agent.wait(lambda: agent.subject("pa")["flowsObserved"], 60)
    assert agent.stop(timeout=60) == 0
    assert "POD_NAMESPACE and DAEMONSET_NAME" in agent.log() and agent.pins()
