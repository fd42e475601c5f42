"""What tests of outages share."""

import math

RESOURCES = ("pods", "nodes", "staticgatewayconfigurations", "gatewayvmconfigurations")


def states(agent):
    return {s["pod"]: s["state"] for s in agent.items("/v1/subjects")}


def resource(request):
    return (request.resource or "").split("/")[-1]


def lists(requests):
    """Whole lists asked for: plain ones and those by a watch. What the server had no room for (429) was none; it is asked again."""
    return [r for r in requests if r.code != 429 and (r.verb == "list" or (r.verb == "watch" and "sendInitialEvents=true" in r.uri))]


def watches(requests):
    return [r for r in requests if r.verb == "watch"]


def tries(requests):
    """How often one list may be asked for in the time in which these came, by who waits 0.8 s and then twice as long each time; a
    server that takes its time to be ready refuses until it is. The first four as they come."""
    times = [r.received for r in requests] or [0.0]
    return 4 + math.log2(1 + (max(times) - min(times)) / 0.8)


def stay_verified(agent, *pods):
    """These and no other are verified, and none of them was ever found to be wrong. A proof may be missing for a moment, where a
    busy machine lets the echoes' answers come late."""
    agent.wait(lambda: states(agent) == dict.fromkeys(pods, "verified"), 60, f"{pods} verified")
    assert not agent.violations(), agent.describe()


# At most: the longest pause between two tries, and that after the first answer of a server that is not ready.
BACK_WITHIN = 60 + 13 + 5


def followed(world, name="later", seconds=BACK_WITHIN):
    """Proof that lists are followed: a pod that comes is seen, and one that goes."""
    world.lab.add_pod(name, sgc="blue", write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name), seconds, f"{name} is seen")
    world.lab.delete_pod(name, write=False)
    world.push()
    world.one.wait(lambda: world.one.subject(name) is None, 60, f"{name} is gone")


def errors(agent, reason):
    metrics = agent.metrics()
    return {name: metrics[f'egress_verifier_kube_watch_errors_total{{resource="{name}",reason="{reason}"}}'] for name in RESOURCES}
