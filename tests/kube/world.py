"""A lab whose objects are in a real API server, and the agent that reads them there.

    with World() as world:                       # lab (tests/lab), API server on the worker's loopback, deploy/'s rights
        agent = world.agent()
        world.lab.edit_sgc("blue", prefix="…"); world.push()
        world.requests()                         # of the agent, since it was started

The lab lays the data path and says which objects describe it; push() makes the API server's objects those.
"""

import base64
import json
import os
import sys

from apiserver import GROUP, HERE, RIGHTS, ApiServer, ServiceAccountVolume
from client import ApiError

REPOSITORY = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, f"{REPOSITORY}/tests/lab")

from lab import Lab  # noqa: E402
from parts import host, layout  # noqa: E402

ACCOUNT = ("egress-verifier", "egress-verifier")
USER = "system:serviceaccount:" + ":".join(ACCOUNT)
DEPLOY = [f"{REPOSITORY}/deploy/base/{name}.yaml" for name in ("namespace", "rbac")]
KINDS = {
    "Pod": "v1", "Node": "v1", "StaticGatewayConfiguration": f"{GROUP}/v1alpha1",
    "GatewayVMConfiguration": f"{GROUP}/v1alpha1",
}


def key_of(item):
    return item["kind"], item["metadata"].get("namespace"), item["metadata"]["name"]


def prepared(item):
    """As the API server takes it: what belongs to the server, or names nobody, is left out."""
    item = json.loads(json.dumps(item))
    meta = item["metadata"]
    meta.pop("ownerReferences", None)
    meta.pop("finalizers", None)
    for name in ("egress-verifier.io/netns", "egress-verifier.io/cgroup"):
        meta.get("annotations", {}).pop(name, None)
    if item["kind"] == "Pod":
        item["status"].pop("containerStatuses", None)
        item["status"].pop("qosClass", None)
    return item


class World:
    """`crds`: False leaves kube-egress-gateway out. Options of Lab and ApiServer by `lab` and `server`."""

    def __init__(self, crds=True, lab=None, server=None):
        self.crds, self.lab, self.server = crds, Lab(**(lab or {})), None
        self.server_options, self.pushed, self.agents = server or {}, {}, []

    def __enter__(self):
        try:
            self.lab.up()
            self.server = ApiServer(net=f"{host.NETNS_DIR}/{self.lab.net(layout.WORKER)}", **self.server_options)
            self.server.start()
            self.give_rights()
            if self.crds:
                self.server.install_crds()
            self.admin = self.server.admin
            self.admin.namespace(layout.NAMESPACE)
            self.volume = ServiceAccountVolume(f"{self.lab.dir}/serviceaccount")
            self.renew_token()
            self.renew_authority()
            self.push()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.server:
            self.server.close()
        self.lab.down()

    def give_rights(self):
        """Exactly those of deploy/."""
        self.server.apply_files(*DEPLOY, kinds=RIGHTS, namespace=ACCOUNT[0])

    # Credentials, as the kubelet lays and renews them

    def renew_token(self, seconds=3600):
        self.volume.write(token=self.server.token(*ACCOUNT, seconds=seconds), namespace=ACCOUNT[0])

    def renew_authority(self):
        with open(self.server.ca, "rb") as file:
            self.volume.write(ca=file.read())

    def kubeconfig(self):
        """With files that rotate."""
        config = {"apiVersion": "v1", "kind": "Config", "current-context": "test",
                  "clusters": [{"name": "test", "cluster": {
                      "server": self.server.url, "certificate-authority": f"{self.volume.folder}/ca.crt"}}],
                  "users": [{"name": "test", "user": {"tokenFile": f"{self.volume.folder}/token"}}],
                  "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}
        path = f"{self.lab.dir}/kubeconfig"
        with open(path, "w", encoding="ascii") as file:
            json.dump(config, file)
        return path

    # The agent

    def agent(self, start=True, **overrides):
        inventory = {"source": "kubernetes", "kubeconfig": self.kubeconfig(), **overrides.pop("inventory", {})}
        self.mark = self.server.audit_mark()
        made = self.lab.agent(start=start, inventory=inventory, **overrides)
        self.agents.append(made)
        return made

    def requests(self, since=None, **wanted):
        return self.server.requests(self.mark if since is None else since, user=USER, **wanted)

    # Objects

    def items(self):
        return {key_of(item): prepared(item) for item in self.lab.objects()["items"]
                if self.crds or item["kind"] in ("Pod", "Node")}

    def push(self):
        """What changed in the lab, and only that."""
        wanted = self.items()
        for key in [key for key in self.pushed if key not in wanted]:
            self._delete(self.pushed.pop(key))
        for key, item in wanted.items():
            if self.pushed.get(key) == item:
                continue
            if key in self.pushed and item["kind"] == "Pod" and item["metadata"]["uid"] != self.pushed[key]["metadata"]["uid"]:
                self._delete(item)
            self.admin.apply(item)
            self.pushed[key] = item

    def _delete(self, item):
        try:
            self.admin.delete(item)
        except ApiError as error:
            if error.status != 404:
                raise

    def object(self, kind, name, namespace=layout.NAMESPACE):
        return self.admin.get(KINDS[kind], kind, namespace, name)

    def delete_object(self, kind, name, namespace=layout.NAMESPACE):
        """As a person would, under the lab's nose."""
        meta = {"name": name, "namespace": namespace}
        self.admin.delete({"apiVersion": KINDS[kind], "kind": kind, "metadata": meta})
        self.pushed.pop((kind, namespace, name), None)

    def events(self, namespace=layout.NAMESPACE):
        return self.admin.list("events.k8s.io/v1", "Event", namespace)["items"]


def token_claims(token):
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
