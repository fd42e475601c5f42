"""Worker and gateway nodes, laid as kube-egress-gateway and its surroundings lay them."""

import json
import os

from . import host, layout, wireguard
from .platform import SYSCTLS

MASQUERADE = [  # the host's own, as ip-masq-agent writes it
    '-A POSTROUTING -m comment --comment "ip-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination '
    'traffic to our custom IP-MASQ-AGENT chain" -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT',
    "-A IP-MASQ-AGENT -d 10.50.0.0/16 -j RETURN",
    "-A IP-MASQ-AGENT -d 10.60.0.0/16 -j RETURN",
    "-A IP-MASQ-AGENT -j MASQUERADE",
]
NAT = ["*nat", ":PREROUTING ACCEPT", ":INPUT ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT"]


class Node:
    """A node's host network namespace, and a mount namespace with what differs between nodes of one machine."""

    def __init__(self, lab, name, address):
        self.lab, self.name, self.address = lab, name, address
        self.net, self.dir = lab.net(name), f"{lab.dir}/{name}"
        self.wireguard_dir = f"{self.dir}/wireguard"
        self.holder = None

    def hold_mounts(self):
        """/run/wireguard, /etc/resolv.conf, /etc/cni/net.d, the CA bundle and a BPF file system of its own."""
        for folder in (self.wireguard_dir, f"{self.dir}/etc/cni/net.d", f"{self.dir}/etc/ssl/certs"):
            os.makedirs(folder, exist_ok=True)
        with open(f"{self.dir}/etc/resolv.conf", "w", encoding="ascii") as file:
            file.write(f"nameserver {layout.DNS_IP}\noptions timeout:1 attempts:2\n")
        os.makedirs("/run/wireguard", exist_ok=True)  # where to mount; wireguard-go would make it too
        script = """set -e
            mount -t overlay overlay -o "lowerdir=$0/etc:/etc" /etc
            mount --bind "$0/etc/cni/net.d" /etc/cni/net.d
            mount --bind "$0/wireguard" /run/wireguard
            mount -t bpf bpf /sys/fs/bpf
            echo mounted
            exec sleep infinity"""
        argv = ["unshare", "--mount", "--propagation", "slave", "sh", "-c", script, self.dir]
        self.holder = self.lab.start(None, argv, f"mounts-{self.name}", log=False)

    def mounted(self):
        self.holder.wait_line("^mounted$")

    def base_lines(self):
        return ["link set lo up", f"addr add {self.address}/16 dev eth0", "link set eth0 up", *self.route_lines()]

    def route_lines(self):
        return [f"route add default via {layout.ROUTER_IP} dev eth0"]

    def start_tunnel(self, name):
        """Made in the host's namespace, so that its UDP socket stays there (docs/design.md of upstream)."""
        if wireguard.in_kernel():
            return wireguard.KernelTunnel(name, self.net)
        return wireguard.Tunnel(name, self.wireguard_dir, lambda argv: self.lab.start(
            self.name, argv, f"{self.name}-{name}", env={"LOG_LEVEL": "error"}))


class Worker(Node):
    def up(self):
        host.ip_batch(self.base_lines(), self.net)
        host.iptables_restore(self.net, "\n".join([*NAT, ":IP-MASQ-AGENT -", *MASQUERADE, "COMMIT", ""]))
        self.write_conflist(layout.CNI_EXCLUDED)

    def write_conflist(self, excluded):
        """As the CNI manager generates it from the first other configuration."""
        plugins = [
            {"ipam": {"ranges": [[{"subnet": "10.60.1.0/24"}]], "routes": [{"dst": "0.0.0.0/0"}], "type": "host-local"},
             "mtu": 1500, "type": "ptp"},
            {"excludedCIDRs": excluded, "ipam": {"type": "kube-egress-cni-ipam"}, "socketPath": "localhost:50051",
             "type": "kube-egress-cni"},
            {"capabilities": {"portMappings": True}, "snat": True, "type": "portmap"},
        ]
        path = f"{self.dir}/etc/cni/net.d/01-egressgateway.conflist"
        with open(path + ".new", "w", encoding="ascii") as file:
            json.dump({"cniVersion": "0.3.1", "name": "azure", "plugins": plugins}, file, indent=2)
        os.replace(path + ".new", path)


class Gateway(Node):
    """A gateway node with ns-static-egress-gateway ("gwns")."""

    def __init__(self, lab, name, address):
        super().__init__(lab, name, address)
        self.gwns = lab.net(f"{name}-gwns")
        self.tunnels = {}  # port -> Tunnel
        self.snat = {}  # port -> address, or None: the rule is missing
        self.wrong = {}  # port -> a wrong address that is laid with everything it needs
        self.exempt = True  # the host's exemption from its own masquerade

    def link_lines(self):
        return [f"link add host-gateway netns {self.net} type veth peer name host0 netns {self.gwns}"]

    def up(self):
        host.sysctls(self.gwns, SYSCTLS)
        host.ip_batch([*self.base_lines(), f"addr add {layout.BALANCER_IP}/32 dev eth0 label eth0:egress",
                       "link set host-gateway up"], self.net)
        host.ip_batch(["link set lo up", "link set host0 addrgenmode none", "link set host0 up",
                       f"route add {self.address}/32 dev host0 scope link",
                       f"route add default via {self.address} dev host0"], self.gwns)

    def add_sgcs(self, sgcs):
        """The tunnels, addresses and rules of these, all at once."""
        started = [(sgc, self.start_tunnel(f"wg-{sgc.port}")) for sgc in sgcs]
        host_lines, gwns_lines = [], []
        for sgc in sgcs:
            address = sgc.secondary(self.name)
            host_lines.append(f"route add {address}/32 dev host-gateway scope global")
            gwns_lines.append(f"addr add {address}/32 dev host0")
            self.snat[sgc.port] = address
        host.ip_batch(host_lines, self.net)
        host.ip_batch(gwns_lines, self.gwns)
        self.apply_nat()
        for sgc, tunnel in started:
            self._lay_tunnel(sgc, tunnel.ready())

    def _lay_tunnel(self, sgc, tunnel):
        name = tunnel.name
        tunnel.configure(sgc.key, sgc.port)
        host.ip(self.net, "link", "set", name, "netns", self.gwns)
        tunnel.moved(self.gwns)
        host.ip_batch([f"link set {name} addrgenmode none", f"addr add fe80::1/64 dev {name}",
                       f"link set {name} up"], self.gwns)
        self.tunnels[sgc.port] = tunnel

    def remove_sgc(self, sgc):
        """The teardown after an SGC was deleted: 2 s on the real node."""
        self.tunnels.pop(sgc.port).stop()
        self.snat.pop(sgc.port)
        self.apply_nat()
        address = sgc.secondary(self.name)
        host.ip(self.net, "route", "del", f"{address}/32", "dev", "host-gateway")
        host.ip(self.gwns, "addr", "del", f"{address}/32", "dev", "host0")

    def add_peer(self, port, public, pod_ip):
        self.tunnels[port].set_peer(public, [f"{pod_ip}/32"])
        host.ip(self.gwns, "route", "replace", f"{pod_ip}/32", "dev", f"wg-{port}", "scope", "link")

    def remove_peer(self, port, public, pod_ip):
        if port in self.tunnels:
            self.tunnels[port].remove_peer(public)
            host.ip(self.gwns, "route", "del", f"{pod_ip}/32", "dev", f"wg-{port}", check=False)

    def apply_nat(self):
        """Both nat tables as a whole, which is one atomic step per namespace; conntrack keeps its entries."""
        ports = sorted(self.snat, reverse=True)  # upstream prepends its jumps
        addresses = [sgc.secondary(self.name) for sgc in self.lab.sgcs.values() if sgc.port in self.snat]
        addresses = sorted(set(addresses) | set(self.wrong.values()))
        chain = {address: "EGRESS-" + address.replace(".", "-") for address in addresses}
        lines = [*NAT, *(f":{chain[a]} -" for a in addresses), ":EGRESS-GATEWAY-SNAT -", ":IP-MASQ-AGENT -",
                 '-A POSTROUTING -m comment --comment "kube-egress-gateway no MASQUERADE" -j EGRESS-GATEWAY-SNAT',
                 *MASQUERADE]
        if self.exempt:
            lines += [f"-A {chain[a]} -s {a}/32 -j ACCEPT" for a in addresses]
        lines += [f'-A EGRESS-GATEWAY-SNAT -m comment --comment "kube-egress-gateway no sNAT packet from ip {a}" '
                  f"-j {chain[a]}" for a in reversed(addresses)]
        host.iptables_restore(self.net, "\n".join([*lines, "COMMIT", ""]))

        lines = [*NAT, *(f":EGRESS-GATEWAY-{what}-{p} -" for p in ports for what in ("MARK", "SNAT"))]
        for point, verb, what in (("PREROUTING", "mark", "MARK"), ("POSTROUTING", "sNAT", "SNAT")):
            lines += [f'-A {point} -m comment --comment "kube-egress-gateway {verb} packets from gateway link wg-{p}" '
                      f"-j EGRESS-GATEWAY-{what}-{p}" for p in ports]
        for p in ports:
            lines.append(f"-A EGRESS-GATEWAY-MARK-{p} -i wg-{p} -j CONNMARK --set-xmark {p:#x}/0xffffffff")
            if self.snat[p]:
                lines.append(f"-A EGRESS-GATEWAY-SNAT-{p} -o host0 -m connmark --mark {p:#x} "
                             f"-j SNAT --to-source {self.snat[p]}")
        host.iptables_restore(self.gwns, "\n".join([*lines, "COMMIT", ""]))

    def lay_wrong_address(self, port, address):
        """An address that is complete on this node and in the fabric, but is not the SGC's."""
        self.wrong[port] = address
        host.ip(self.gwns, "addr", "replace", f"{address}/32", "dev", "host0")
        host.ip(self.net, "route", "replace", f"{address}/32", "dev", "host-gateway")
        host.ip(self.lab.fabric.net, "route", "replace", f"{address}/32", "via", self.address, "dev", f"v{self.name}")
        self.snat[port] = address
        self.apply_nat()

    def repair_snat(self, sgc):
        self.snat[sgc.port] = sgc.secondary(self.name)
        address = self.wrong.pop(sgc.port, None)
        self.apply_nat()
        if address:
            host.ip(self.gwns, "addr", "del", f"{address}/32", "dev", "host0")
            host.ip(self.net, "route", "del", f"{address}/32", "dev", "host-gateway")
            host.ip(self.lab.fabric.net, "route", "del", f"{address}/32")

    def nic_down(self):
        host.ip(self.net, "link", "set", "eth0", "down")

    def nic_up(self):
        host.ip(self.net, "link", "set", "eth0", "up")
        host.ip_batch([line.replace("route add", "route replace") for line in self.route_lines()], self.net)

    def conntrack(self, *args):
        """conntrack -L in gwns, one line per flow."""
        with host.inside(self.gwns):
            return host.run(["conntrack", "-L", *args], check=False).splitlines()
