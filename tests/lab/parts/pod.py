"""A pod: network namespace, eth0, perhaps wg0, a cgroup, and traffic from inside."""

import ipaddress
import json
import os
import re

from . import host, layout, wireguard
from .platform import SYSCTLS

TRAFFIC = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "traffic.py")
MANGLE = "\n".join([
    "*mangle", ":PREROUTING ACCEPT", ":INPUT ACCEPT", ":FORWARD ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT",
    f"-A PREROUTING -i eth0 -j MARK --set-xmark {layout.MARK}/0xffffffff",
    "-A PREROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    f"-A OUTPUT -m connmark --mark {layout.MARK} -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
    "COMMIT", ""])


def masked(cidrs):
    """As the CNI plugin takes them: host bits are dropped without a word; once each."""
    return list(dict.fromkeys(str(ipaddress.ip_network(cidr, strict=False)) for cidr in cidrs))


class Pod:
    """Made by Lab.add_pod(). `wg_exclude` is what spec.excludeCidrs was when the routes were written."""

    def __init__(self, lab, name, namespace, number, *, sgc=None, wg=True, labels=None, annotations=None, annotate=True,
                 host_network=False, created=None, cgroup="kubepods/burstable/pod{uid}"):
        self.lab, self.name, self.namespace, self.number = lab, name, namespace, number
        self.sgc = sgc  # the annotation's value
        self.labels = {"app": name} if labels is None else labels
        self.annotations, self.annotate, self.host_network = annotations or {}, annotate, host_network
        self.uid, self.phase = layout.new_uid(), "Running"
        self.created = self.started = created or layout.timestamp()
        self.gateway = lab.sgcs.get((namespace, sgc)) if wg and sgc and not host_network else None
        self.tunnel = self.key = None
        self.alive = True
        self.processes = []
        # As the kubelet's driver names it: cgroupfs {uid}, systemd {escaped}.
        self.cgroup = f"{lab.cgroup}/" + cgroup.format(uid=self.uid, escaped=self.uid.replace("-", "_"))
        os.makedirs(f"{self.cgroup}/main", exist_ok=True)
        if host_network:
            self.ip, self.net = layout.WORKER_IP, lab.worker.net
            self.netns_path = f"{host.NETNS_DIR}/{self.net}"
            return
        self.ip = f"10.60.{1 + number // 253}.{2 + number % 253}"
        self.net = lab.free_net(name if namespace == layout.NAMESPACE else f"{namespace}-{name}")
        self.netns_path = f"{lab.netns_dir}/cni-{layout.new_uid()}"
        self.veth = f"veth{self.uid[:8]}"

    @property
    def key_name(self):
        return (self.namespace, self.name)

    # As the ptp plugin and kube-egress-cni lay it

    def up(self):
        if self.host_network:
            return self
        host.run(["ip", "netns", "add", self.net])
        with open(self.netns_path, "w", encoding="ascii"):
            pass
        host.mount_bind(f"{host.NETNS_DIR}/{self.net}", self.netns_path)
        host.sysctls(self.net, SYSCTLS)
        worker = self.lab.worker
        starting = self.lab.worker.start_tunnel(f"wg{self.uid[:8]}") if self.gateway else None
        host.ip_batch([f"link add {self.veth} netns {worker.net} type veth peer name eth0 netns {self.net}"])
        host.ip_batch([f"addr add {layout.POD_GATEWAY_IP}/32 dev {self.veth}", f"link set {self.veth} up",
                       f"route add {self.ip}/32 dev {self.veth} scope host"], worker.net)
        subnet = self.ip.rsplit(".", 1)[0] + ".0/24"
        direct = [f"route add {layout.POD_GATEWAY_IP}/32 dev eth0 scope link src {self.ip}",
                  f"route add {subnet} via {layout.POD_GATEWAY_IP} dev eth0 src {self.ip}",
                  f"route add default via {layout.POD_GATEWAY_IP} dev eth0"]
        host.ip_batch(["link set lo up", f"addr add {self.ip}/24 brd + dev eth0", "link set eth0 up",
                       f"route del {subnet} dev eth0", *direct], self.net)
        if self.gateway:
            self._lay_tunnel(starting)
        return self

    def _lay_tunnel(self, tunnel):
        sgc, worker = self.gateway, self.lab.worker
        self.key = wireguard.Key()
        for gateway in self.lab.gateways.values():
            gateway.add_peer(sgc.port, self.key.public, self.ip)
        self.tunnel = tunnel.ready()
        self.tunnel.configure(self.key)
        self.set_peer()
        host.ip_batch([f"link set {tunnel.name} netns {self.net}"], worker.net)
        self.tunnel.moved(self.net)
        local = re.search(r"fe80:\S+", host.ip(self.net, "-6", "addr", "show", "dev", "eth0")).group()
        host.ip_batch([f"link set {tunnel.name} name wg0", f"link set wg0 alias {tunnel.name} addrgenmode none",
                       f"addr add {local} dev wg0", "link set wg0 up"], self.net)
        self.tunnel.moved(self.net, "wg0")
        host.ip_batch(self._route_lines(), self.net, "-4")
        if sgc.default_route == "staticEgressGateway":
            # It deletes every route of eth0, of both families, and writes its own.
            host.ip(self.net, "-6", "route", "flush", "dev", "eth0", check=False)
        host.sysctls(self.net, {"ipv4/conf/all/rp_filter": 2, "ipv4/conf/eth0/rp_filter": 2})
        host.iptables_restore(self.net, MANGLE)

    def _route_lines(self):
        sgc, via = self.gateway, f"via {layout.POD_GATEWAY_IP} dev eth0"
        listed = masked(sgc.exclude)
        lines = [f"route add default {via} table {layout.MARK_TABLE}",
                 f"rule add priority 32765 fwmark {layout.MARK} lookup {layout.MARK_TABLE}"]
        if sgc.default_route == "azureNetworking":
            return lines + [f"route add {cidr} via inet6 fe80::1 dev wg0" for cidr in listed]
        # `route flush` keeps the table of marked packets.
        lines += ["route flush table main", f"route add {layout.POD_GATEWAY_IP}/32 dev eth0 scope link",
                  "route add default via inet6 fe80::1 dev wg0"]
        excluded = dict.fromkeys([*listed, *masked(self.lab.cni_excluded)])
        return lines + [f"route add {cidr} {via} proto static" for cidr in excluded]

    def set_peer(self, public=None, endpoint=None, allowed=("0.0.0.0/0", "::/0"), fresh=False):
        """The pod's single peer; what is not given is as the gateway's status says."""
        sgc = self.gateway
        self.tunnel.set_peer(public or sgc.key.public, allowed, endpoint or f"{layout.BALANCER_IP}:{sgc.port}", fresh)

    def down(self):
        self.alive = False
        host.cgroup_kill(self.cgroup)
        for process in self.processes:
            process.popen.wait(5)
        if self.host_network:
            return
        if self.tunnel:
            self.tunnel.stop()
        if self.gateway:
            for gateway in self.lab.gateways.values():
                gateway.remove_peer(self.gateway.port, self.key.public, self.ip)
        host.umount(self.netns_path)
        os.unlink(self.netns_path)
        host.netns_delete(self.net)
        # The host's end goes with the namespace, but later.
        host.ip(self.lab.worker.net, "link", "del", self.veth, check=False)

    # What it says about itself

    def routes(self, family="-4"):
        """`ip route show table all`, sorted, without the trailing blanks."""
        text = host.ip(self.net, family, "route", "show", "table", "all")
        return sorted(line.rstrip() for line in text.splitlines())

    def packets(self, device):
        """(received, sent) packets of a device."""
        link = json.loads(host.run(["ip", "-n", self.net, "-s", "-j", "link", "show", "dev", device]))[0]
        return link["stats64"]["rx"]["packets"], link["stats64"]["tx"]["packets"]

    def conntrack(self, *args):
        with host.inside(self.net):
            return host.run(["conntrack", "-L", *args], check=False).splitlines()

    def outer_port(self):
        """UDP source port of its tunnel on the node."""
        return self.tunnel.listen_port()

    # Traffic; every process is in the pod's cgroup and namespace

    def start(self, argv, name=None):
        process = host.Process(argv, cgroup=f"{self.cgroup}/main", net=self.net, mount_pid=self.lab.worker.holder.pid,
                               name=name or f"{self.name}:{os.path.basename(argv[0])}")
        self.processes.append(process)
        return process

    def run(self, argv, timeout=30.0):
        """(exit status, output) of a command in the pod."""
        process = self.start(argv)
        code = process.wait(timeout)
        return code, "\n".join(process.lines)

    def traffic(self, *args):
        """A running traffic.py with these arguments: a host.Process."""
        return self.start([self.lab.python, "-S", TRAFFIC, *map(str, args)], f"{self.name}:{args[0]}")

    def _traffic(self, *args, timeout):
        process = self.traffic(*args, "--timeout", timeout)
        return process.wait(timeout * 2 + 20), process.lines

    def tcp(self, address, port=layout.TCP_TALK_PORT, count=1, timeout=5.0, **options):
        """Connections; (exit status, lines). To TALK_PORT the peer says which address it sees."""
        more = [f"--{key}={value}" for key, value in options.items()]
        return self._traffic("tcp", address, port, "--count", count, *more, timeout=timeout)

    def udp(self, address, port=layout.TCP_TALK_PORT, count=1, timeout=5.0, **options):
        more = [f"--{key}={value}" for key, value in options.items()]
        return self._traffic("udp", address, port, "--count", count, *more, timeout=timeout)

    def ping(self, address, count=1, timeout=2):
        return self.run(["ping", "-n", "-c", str(count), "-i", "0.2", "-W", str(timeout), address])

    def hold(self, address, port=layout.TCP_TALK_PORT, interval=0.05, timeout=5.0):
        """One connection that talks every `interval` seconds; returned when it is connected."""
        process = self.traffic("hold", address, port, "--interval", interval, "--timeout", timeout)
        process.wait_line(" connected ", timeout + 10)
        return process

    def serve(self, port, udp=False):
        """A server in the pod that answers with the client's address; returned when it listens."""
        process = self.traffic("serve-udp" if udp else "serve", port)
        process.wait_line(" listening")
        return process

    def curl(self, url, timeout=5.0, *options):
        """What the address at the other end saw, or None: curl's standard output."""
        code, output = self.run(["curl", "-sS", "-m", str(timeout), *options, url], timeout + 10)
        return output.strip() if code == 0 else None
