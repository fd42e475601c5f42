"""What tests of outages share."""

RESOURCES = ("pods", "nodes", "staticgatewayconfigurations", "gatewayvmconfigurations")


def states(agent):
    return {s["pod"]: s["state"] for s in agent.items("/v1/subjects")}


def resource(request):
    return (request.resource or "").split("/")[-1]


def lists(requests):
    """Whole lists asked for: plain ones and those by a watch."""
    return [r for r in requests if r.verb == "list" or (r.verb == "watch" and "sendInitialEvents=true" in r.uri)]


def watches(requests):
    return [r for r in requests if r.verb == "watch"]


# At most: the longest pause between two tries, and that after the first answer of a server that is not ready.
BACK_WITHIN = 60 + 13 + 5


def followed(world, name="later", seconds=BACK_WITHIN):
    """Proof that lists are followed: a pod that comes is seen, and one that goes."""
    world.lab.add_pod(name, sgc="blue", write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name), seconds, f"{name} is seen")
    world.lab.delete_pod(name, write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name) is None, 10, f"{name} is gone")


def errors(agent, reason):
    metrics = agent.metrics()
    return {name: metrics[f'egress_verifier_kube_watch_errors_total{{resource="{name}",reason="{reason}"}}'] for name in RESOURCES}
