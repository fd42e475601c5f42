"""Told to end, the agent leaves its packet programs to a successor, or takes them along, by what the API server says."""

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
    for kind, namespace in ROLES:
        meta = {"name": NAME, **({"namespace": namespace} if namespace else {})}
        world.admin.delete({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": meta})


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
    agent.wait_ready(20)
    agent.wait(lambda: world.requests(mark, verb="get", resource="apps/daemonsets"), 10, "it learns that it may ask")
    agent.wait(lambda: agent.subject("pa")["flowsObserved"] and agent.subject("pb")["flowsObserved"], 10, "programs")
    assert agent.pins()
    return agent


def may(world, resource, group=""):
    """Whether the API server lets the agent ask for it by now."""
    client = world.server.client(token=world.server.token(*ACCOUNT))
    return client.can_i("get", resource, group, NAMESPACE, NAME)


def last_words(agent):
    return "\n".join(agent.log().splitlines()[-2:])


def test_a_refusal_of_a_moment_is_asked_again(world):
    """As of an API server that has begun just now and does not know yet who may what."""
    agent = start(world, "moment")
    before = agent.pins()
    take_rights(world)
    try:
        wait_for(lambda: not may(world, "daemonsets", "apps"), "the rights are gone", 10)
        mark = world.server.audit_mark()
        agent.process.signal(signal.SIGTERM)
        wait_for(lambda: world.requests(mark, verb="get", resource="apps/daemonsets", code=403), "the refusal", 10)
    finally:
        world.give_rights()
    assert agent.process.wait(10) == 0
    assert "the DaemonSet is to stay" in last_words(agent), agent.log()[-800:]
    assert agent.pins() == before


def test_rights_without_the_namespace_are_no_end(world):
    role = {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": NAME, "namespace": NAMESPACE}}
    agent = start(world, "half")
    before = agent.pins()
    world.admin.patch(role, {"rules": [{"apiGroups": ["apps"], "resources": ["daemonsets"], "verbs": ["get"]}]})
    try:
        wait_for(lambda: not may(world, "namespaces"), "the right is gone", 10)
        assert agent.stop(timeout=10) == 0
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
            agent.wait(lambda: agent.subject("later", NAMESPACE), 5)
            world.admin.delete({**OWN_POD, "metadata": {**OWN_POD["metadata"], "name": "later"}})
        assert agent.stop(timeout=10) == 0
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
    agent.wait_ready(20)
    agent.wait(lambda: agent.subject("pa")["flowsObserved"], 10)
    assert agent.stop() == 0
    assert "POD_NAMESPACE and DAEMONSET_NAME" in agent.log() and agent.pins()
