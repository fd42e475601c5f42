#!/usr/bin/python3
"""The lab: a worker node, two gateway nodes, the platform and the internet, on one machine.

    from lab import Lab

    with Lab() as lab:                        # up() on entry, down() on exit; parallel-safe
        pa = lab.pod("pa")                    # pa (blue), pb (red, azureNetworking), pc (no gateway)
        assert pa.curl("http://echo1.lab/") == "203.0.113.68"
        agent = lab.agent(probe={"interval": "500ms"})   # on w1; keyword arguments over the default configuration
        agent.wait_state("pa", "verified")
        lab.move_default_route("pa", "eth0")
        pa.tcp("192.0.2.10")
        agent.wait_violation("gateway-bypass", pod="pa")
        lab.move_default_route("pa", "wg0")

Pods    lab.pod(name) · lab.add_pod(name, sgc="blue") · lab.add_pods([…]) in parallel
        lab.delete_pod(name) · lab.delete_pods([…])
        add_pod(…, wg=False): annotated, but started before the annotation: no wg0
        add_pod(…, host_network=True), labels={}, annotations={}, annotate=False (the agent must find namespace and
        cgroup by itself), namespace="payments", cgroup="kubepods/pod{uid}" (where below the lab's)
        pod: .ip .net .uid .cgroup .netns_path .tunnel; .curl(url) .tcp(ip, port, count) .udp(…) .ping(ip) .hold(ip)
        .serve(port) .run(argv) .start(argv) .traffic(…); .routes() .packets(device) .conntrack()
SGCs    lab.sgcs[("payments", "blue")] · lab.add_sgc(name, …) with a data path of its own · lab.remove_sgc(name)
Objects lab.edit_sgc(name, prefix="", exclude=[…], default_route=…, server_key=…, deleted=True, listed=False): what the
        objects say, not what is laid · lab.write_objects() · lab.edit_objects(function) · lab.inventory_path
        lab.write_conflist([cidr…])
Faults  each has its repair:
        snat_wrong_address(sgc) snat_other_sgc(sgc, other) snat_missing(sgc)      repair_snat(sgc)
        move_default_route(pod, "eth0")                                           move_default_route(pod, "wg0")
        wg_key_wrong(pod) wg_endpoint_wrong(pod) wg_allowed_wrong(pod)            wg_repair(pod)
        peer_missing(pod)                                                         peer_restore(pod)
        gateway_down("gw1", switch_after=5)                                       gateway_up("gw1")
        masquerade_exemption_missing()                                            masquerade_exemption_restore()
        dns_dead()                                                                dns_restore()
        echo_fault("echo1", kind), kinds: odd_echo.KINDS and "dead"               echo_restore("echo1")
        block(pod, cidr): a firewall in the platform                              unblock()
Moves   lab.balance("gw2"): as the balancer does it, 15 to 26 s without answers · fresh=True: new sessions at once
        lab.balance("gw2", pod="pa"): one pod's flow only
World   lab.inbound(pod, port): a connection from the internet into a pod, the pod's view of the client's address
        lab.start(node, argv, name): any process on "w1", "gw1", "gw1-gwns", "fabric", "world"
        lab.start_echo(): `egress-verifier echo` on 192.0.2.13:3478 · lab.requests(): what the good echoes saw
Agent   lab.agent(**overrides) → .get(path) .items(path) .subject(pod) .violations(kind=, state=, pod=) .flows(pod)
        .metrics() .wait(condition, timeout) .wait_state .wait_violation .events() .cli("check") .log() .kill() .stop()
        .start() again .reload() .files() .memory() .pins(); see parts/agent.py

Command line:

    lab.py shell [NODE|POD]   a lab, and a shell inside; it ends with the shell
    lab.py up                 a lab that stays; prints its number
    lab.py exec N NODE -- COMMAND…
    lab.py status             the labs of this machine
    lab.py down N             one lab
    lab.py clean              what crashed labs left behind
"""

import argparse
import atexit
import concurrent.futures
import json
import os
import signal
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from parts import agent as agent_module  # noqa: E402
from parts import faults, host, layout, objects, platform  # noqa: E402
from parts.node import Gateway, Worker  # noqa: E402
from parts.pod import Pod  # noqa: E402

LabError = host.LabError


class Lab(faults.Faults):
    python = "/usr/bin/python3"

    def __init__(self, pods=True, echoes=True):
        """`pods`: pa, pb and pc as in the recordings. `echoes`: False leaves the internet empty."""
        self.with_pods, self.with_echoes = pods, echoes
        self.number = self.lock = None
        self.pods, self.sgcs, self.processes, self.agents = {}, {}, [], []
        self.names, self.cni_excluded = dict(layout.NAMES), list(layout.CNI_EXCLUDED)
        self.pod_number = 0
        self.edits = []
        self.created = layout.timestamp()

    # Life

    def __enter__(self):
        return self.up()

    def __exit__(self, *_):
        self.down()

    def up(self):
        self._claim()
        atexit.register(self.down)
        try:
            self._lay()
        except BaseException:
            self.down()
            raise
        return self

    def _claim(self):
        number = 0
        while True:
            self.lock = host.lab_lock(number)
            if self.lock and not os.path.exists(f"{host.RUN_DIR}/{number}/stays"):
                break
            if self.lock:
                self.lock.close()
            number += 1
        self.number = number
        host.remove_remains(number)
        self.dir, self.cgroup = f"{host.RUN_DIR}/{number}", f"{host.cgroup_mount()}/evlab{number}"
        self.netns_dir, self.inventory_path = f"{self.dir}/netns", f"{self.dir}/inventory.yaml"
        for folder in (self.dir, f"{self.dir}/log", self.netns_dir, f"{self.cgroup}/infra"):
            os.makedirs(folder)
        # As the runtime's own folder: mounts made later are seen in every mount namespace.
        host.mount_bind(self.netns_dir, self.netns_dir)
        host.mount_shared(self.netns_dir)

    def _lay(self):
        self.worker = Worker(self, layout.WORKER, layout.WORKER_IP)
        self.gateways = {name: Gateway(self, name, ip) for name, ip in layout.GATEWAYS.items()}
        self.fabric, self.world = platform.Fabric(self), platform.World(self)
        nodes = [self.worker, *self.gateways.values()]
        self._add_sgc_object("blue", exclude=["10.50.0.0/16", "10.60.0.0/16"])
        self._add_sgc_object("red", default_route="azureNetworking", exclude=["192.0.2.11/32"])
        nets = [self.fabric.net, self.world.net, *(n.net for n in nodes), *(g.gwns for g in self.gateways.values())]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            certificates = pool.submit(platform.make_certificates, f"{self.dir}/world")
            for node in nodes:
                node.hold_mounts()
            host.ip_batch([f"netns add {net}" for net in nets])
            for net in nets:
                host.sysctls(net, platform.SYSCTLS)
            links = [line for gateway in self.gateways.values() for line in gateway.link_lines()]
            host.ip_batch(self.fabric.link_lines() + links)
            for node in nodes:
                node.mounted()
            laid = [pool.submit(part.up) for part in (self.fabric, self.world, *nodes)]
            certificates.result()
            self._write_ca_bundles(nodes)
            for job in laid:
                job.result()
            self.fabric.start_services()
            if self.with_echoes:
                self.world.start_services()
            self._lay_sgcs(list(self.sgcs.values()), pool)
        if self.with_pods:
            self.add_pods([{"name": "pa", "sgc": "blue"}, {"name": "pb", "sgc": "red"}, {"name": "pc"}])
        self.fabric.ready()
        if self.with_echoes:
            self.world.ready()
        self.write_objects()
        with open(f"{self.dir}/state.json", "w", encoding="ascii") as file:
            json.dump({node.name: node.holder.pid for node in nodes}, file)

    def _write_ca_bundles(self, nodes):
        system = "/etc/ssl/certs/ca-certificates.crt"
        bundle = b""
        if os.path.exists(system):
            with open(system, "rb") as file:
                bundle = file.read()
        with open(f"{self.dir}/world/ca.crt", "rb") as file:
            bundle += file.read()
        for node in nodes:
            path = f"{node.dir}/etc/ssl/certs/ca-certificates.crt"
            with open(path, "wb") as file:
                file.write(bundle)
            # The overlay over /etc was mounted before the file was there.
            host.run(["nsenter", f"--mount=/proc/{node.holder.pid}/ns/mnt", "mount", "--bind", path, system])

    def down(self):
        """Removes everything; may be called twice, and in the middle of up()."""
        if self.lock is None:
            return
        for part in [getattr(self, "fabric", None)]:
            if part:
                part.cancel()
        host.cgroup_kill(self.cgroup)
        for process in self.processes:
            process.popen.wait(host.PATIENCE)
        host.remove_remains(self.number)
        host.lab_unlock(self.number, self.lock)
        self.lock = None
        atexit.unregister(self.down)

    # Names

    def net(self, node):
        """Name of a network namespace: net("gw1-gwns")."""
        return f"ev{self.number}-{node}"

    def free_net(self, name):
        used, candidate, count = set(host.netns_list()) | {p.net for p in self.pods.values()}, self.net(name), 2
        while candidate in used:
            candidate, count = self.net(f"{name}-{count}"), count + 1
        return candidate

    def node(self, name):
        return self.worker if name == layout.WORKER else self.gateways[name]

    # Processes

    def start(self, node, argv, name=None, env=None, log=True):
        """A process on a node, in "gw1-gwns", "fabric" or "world" (None: in no namespace of the lab)."""
        holder = None
        if node:
            base = node.removesuffix("-gwns")
            holder = self.node(base).holder.pid if base in (layout.WORKER, *layout.GATEWAYS) else None
        name = name or os.path.basename(argv[0])
        process = host.Process(argv, cgroup=f"{self.cgroup}/infra", net=self.net(node) if node else None,
                               mount_pid=holder, env=env, name=name, log=f"{self.dir}/log/{name}.log" if log else None)
        self.processes.append(process)
        return process

    def start_echo(self, address=layout.UDP_ECHO_IP, port=layout.STUN_PORT):
        """The product's own echo: HTTP, UDP and STUN on one port."""
        argv = [agent_module.binary(), "echo", "--listen", f"{address}:{port}"]
        process = self.start("world", argv, f"echo-{address}")
        platform.wait_tcp(self.world.net, address, port)
        return process

    def agent(self, node=layout.WORKER, start=True, name="agent", **overrides):
        """An agent on a node, running; keyword arguments are merged over Agent.defaults()."""
        agent = agent_module.Agent(self, overrides, node, name)
        self.agents.append(agent)
        return agent.start() if start else agent

    # SGCs and pods

    def sgc(self, name, namespace=layout.NAMESPACE):
        return self.sgcs[namespace, name]

    def _add_sgc_object(self, name, **fields):
        from parts import wireguard
        used = {sgc.index for sgc in self.sgcs.values()}
        index = next(i for i in range(23) if i not in used)
        sgc = layout.Sgc(name, index, key=wireguard.Key(), **{"created": self.created, **fields})
        self.sgcs[sgc.namespace, name] = sgc
        return sgc

    def _lay_sgcs(self, sgcs, pool):
        for sgc in sgcs:
            self.fabric.add_secondaries(sgc)
        for job in [pool.submit(gateway.add_sgcs, sgcs) for gateway in self.gateways.values()]:
            job.result()

    def add_sgc(self, name, **fields):
        """An SGC with its data path on both gateway nodes; fields as in layout.Sgc."""
        sgc = self._add_sgc_object(name, **fields)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            self._lay_sgcs([sgc], pool)
        self.fabric.apply_nat()
        self.write_objects()
        return sgc

    def add_sgcs(self, specifications):
        """Many at once: a list of keyword arguments of add_sgc()."""
        made = [self._add_sgc_object(**fields) for fields in specifications]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            self._lay_sgcs(made, pool)
        self.fabric.apply_nat()
        self.write_objects()
        return made

    def remove_sgc(self, name, namespace=layout.NAMESPACE):
        """Deletes the objects and tears the data path down; pods keep wg0 and their routes, as they really do."""
        sgc = self.sgcs[namespace, name]
        sgc.listed = False
        for gateway in self.gateways.values():
            gateway.remove_sgc(sgc)
        self.write_objects()

    def edit_sgc(self, name, namespace=layout.NAMESPACE, **fields):
        """Changes what the objects say. The data path stays as it is, as running pods do."""
        sgc = self.sgcs[namespace, name]
        for field, value in fields.items():
            if not hasattr(sgc, field):
                raise AttributeError(field)
            setattr(sgc, field, value)
        self.write_objects()

    def pod(self, name, namespace=layout.NAMESPACE):
        return self.pods[namespace, name]

    def add_pod(self, name, namespace=layout.NAMESPACE, write=True, **options):
        """See the module's text for the options."""
        pod = Pod(self, name, namespace, self._next_number(), **options)
        self.pods[pod.key_name] = pod
        pod.up()
        if write:
            self.write_objects()
        return pod

    def add_pods(self, specifications):
        """Many at once: a list of keyword arguments of add_pod()."""
        made = []
        for options in specifications:
            options = {"namespace": layout.NAMESPACE, **options}
            pod = Pod(self, number=self._next_number(), **options)
            self.pods[pod.key_name] = pod
            made.append(pod)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(Pod.up, made))
        self.write_objects()
        return made

    def _next_number(self):
        self.pod_number += 1
        return self.pod_number - 1

    def delete_pod(self, name, namespace=layout.NAMESPACE, write=True):
        pod = self.pods.pop((namespace, name))
        pod.down()
        if write:
            self.write_objects()
        return pod

    def delete_pods(self, names, namespace=layout.NAMESPACE):
        """Many at once."""
        gone = [self.pods.pop((namespace, name)) for name in names]
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(Pod.down, gone))
        self.write_objects()

    # Objects

    def objects(self):
        """The List as a dict, edits applied."""
        items = [objects.pod(pod) for pod in self.pods.values()]
        listed = [sgc for sgc in self.sgcs.values() if sgc.listed]
        items.append(objects.node(layout.WORKER, layout.WORKER_IP, "e11a2340-a388-4dfc-bb25-e9aff1b9e7f8",
                                  self.created, {}))
        for name, gateway in self.gateways.items():
            where = {"egress-verifier.io/gateway-netns": f"{host.NETNS_DIR}/{gateway.gwns}"}
            items.append(objects.node(name, gateway.address, f"622f524c-3812-4339-9378-00000000000{name[-1]}",
                                      self.created, where))
        items += [objects.gateway(sgc) for sgc in listed] + [objects.gateway_vm(sgc) for sgc in listed]
        result = objects.listing(items)
        for edit in self.edits:
            edit(result)
        return result

    def write_objects(self):
        """Replaces the inventory file, atomically."""
        objects.write(self.inventory_path, objects.yaml(self.objects()))

    def edit_objects(self, function):
        """function(list) changes every later version of the List in place; returns an undo."""
        self.edits.append(function)
        self.write_objects()

        def undo():
            self.edits.remove(function)
            self.write_objects()
        return undo

    def write_conflist(self, excluded):
        self.cni_excluded = list(excluded)
        self.worker.write_conflist(self.cni_excluded)

    def requests(self):
        return self.world.requests()

    def inbound(self, pod, port, timeout=5.0):
        """A connection from the internet into a pod's server; the client address that the pod saw."""
        pod = self.pod(pod) if isinstance(pod, str) else pod
        with host.inside(self.world.net):
            return host.run(["curl", "-sS", "-m", str(timeout), "--interface", layout.CLIENT_IP,
                             f"http://{pod.ip}:{port}/"]).strip()


def enter(number, place, command):
    """Runs a command in a namespace of lab `number`."""
    with open(f"{host.RUN_DIR}/{number}/state.json", encoding="ascii") as file:
        holders = json.load(file)
    holder = holders.get(place.removesuffix("-gwns"))
    if holder is None and f"ev{number}-{place}" in host.netns_list() and place not in ("fabric", "world"):
        holder = holders[layout.WORKER]  # a pod
    mount = [f"--mount=/proc/{holder}/ns/mnt"] if holder else []
    os.execvp("nsenter", ["nsenter", f"--net={host.NETNS_DIR}/ev{number}-{place}", *mount, "--", *command])


def clean():
    """Removes what dead labs left; their numbers."""
    removed = []
    for number in host.lab_numbers():
        lock = host.lab_lock(number)
        if lock is None:
            continue
        if not os.path.exists(f"{host.RUN_DIR}/{number}/stays"):
            host.remove_remains(number)
            host.lab_unlock(number, lock)
            removed.append(number)
        lock.close()
    return removed


def command_shell(place):
    with Lab() as lab:
        if not os.path.exists(f"{host.NETNS_DIR}/ev{lab.number}-{place}"):
            sys.exit(f"lab.py: {place}: no such node or pod")
        print(f"lab {lab.number}: {lab.dir}; in {place}; the shell's end is the lab's end", flush=True)
        os.environ["PATH"] = f"{os.path.dirname(agent_module.binary())}:{os.environ['PATH']}"
        if place == layout.WORKER and agent_module.have_binary():
            agent = lab.agent(start=False)
            print(f"try: egress-verifier check --config {agent.config_path}", flush=True)
        child = os.fork()
        if child == 0:
            os.environ["PS1"] = f"ev{lab.number}-{place}# "
            enter(lab.number, place, ["/bin/bash", "--norc"])
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def command_up():
    lab = Lab()
    lab.up()
    with open(f"{lab.dir}/stays", "w", encoding="ascii"):
        pass
    atexit.unregister(lab.down)
    print(lab.number)
    sys.stdout.flush()
    os._exit(0)  # the readers of its processes' output would wait for them


def command_status():
    for number in host.lab_numbers():
        lock = host.lab_lock(number)
        state = "lives" if lock is None else "stays" if os.path.exists(f"{host.RUN_DIR}/{number}/stays") else "dead"
        if lock:
            lock.close()
        nets = [name for name in host.netns_list() if name.startswith(f"ev{number}-")]
        print(f"{number} {state}: {' '.join(nets)}")


def command_down(number):
    lock = host.lab_lock(number)
    if lock is None:
        sys.exit(f"lab {number}: its owner lives; end that instead")
    host.remove_remains(number)
    host.lab_unlock(number, lock)


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("shell").add_argument("place", nargs="?", default="w1")
    for name in ("up", "status", "clean"):
        commands.add_parser(name)
    commands.add_parser("down").add_argument("number", type=int)
    execute = commands.add_parser("exec")
    execute.add_argument("number", type=int)
    execute.add_argument("place")
    execute.add_argument("argv", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("lab.py: must be root, for network namespaces")
    if args.command == "exec":
        enter(args.number, args.place, [word for word in args.argv if word != "--"] or ["/bin/bash"])
    if args.command == "clean":
        print("removed:", " ".join(map(str, clean())) or "nothing")
    actions = {"shell": lambda: command_shell(args.place), "up": command_up, "status": command_status,
               "down": lambda: command_down(args.number), "clean": lambda: None}
    sys.exit(actions[args.command]())


if __name__ == "__main__":
    main()
