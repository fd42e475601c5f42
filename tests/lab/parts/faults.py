"""What can go wrong, each with its repair. Mixed into Lab."""

import os
import signal

from . import host, layout, wireguard


class Faults:
    def _gateways(self, gateway):
        return [self.gateways[gateway]] if gateway else list(self.gateways.values())

    # Source address translation on the gateway nodes (all of them by default)

    def snat_wrong_address(self, sgc, public=layout.UNKNOWN_PUBLIC_IP, gateway=None):
        """SNAT to an address that no SGC has; the internet sees `public` (None: the cluster's outbound address)."""
        sgc, wrong = self.sgc(sgc), {}
        for node in self._gateways(gateway):
            wrong[node] = f"10.50.2.{10 * sgc.index + list(self.gateways).index(node.name) + 10}"
            self.fabric.extra_nat[wrong[node]] = public or layout.OUTBOUND_IP
        # First the platform: else the first packets show what an earlier fault gave this address.
        self.fabric.apply_nat()
        for node, address in wrong.items():
            node.lay_wrong_address(sgc.port, address)

    def snat_other_sgc(self, sgc, other, gateway=None):
        """SNAT to the address of another SGC on the same node."""
        for node in self._gateways(gateway):
            node.snat[self.sgc(sgc).port] = self.sgc(other).secondary(node.name)
            node.apply_nat()

    def snat_missing(self, sgc, answered=True, gateway=None):
        """The tunnel is up, the SNAT rule is not there: packets leave gwns with the pod's address and the host's
        masquerade gives them its own. Answers then come back to the pod's address, which the host does not route
        into the tunnel; with `answered` it does, so that an echo can tell."""
        sgc = self.sgc(sgc)
        for node in self._gateways(gateway):
            node.snat[sgc.port] = None
            node.apply_nat()
            for pod in self.pods.values():
                if answered and pod.gateway is sgc:
                    host.ip(node.net, "route", "replace", f"{pod.ip}/32", "dev", "host-gateway")
                    # Nobody in gwns answers ARP for it.
                    mac = host.ip(node.gwns, "-o", "link", "show", "dev", "host0").split("link/ether ")[1].split()[0]
                    host.ip(node.net, "neigh", "replace", pod.ip, "lladdr", mac, "dev", "host-gateway")

    def repair_snat(self, sgc):
        sgc = self.sgc(sgc)
        for node in self.gateways.values():
            node.repair_snat(sgc)
            for pod in self.pods.values():
                if pod.gateway is sgc:
                    host.ip(node.net, "route", "del", f"{pod.ip}/32", "dev", "host-gateway", check=False)
                    host.ip(node.net, "neigh", "del", pod.ip, "dev", "host-gateway", check=False)

    def masquerade_exemption_missing(self, gateway=None):
        """The host translates secondaryIP again."""
        for node in self._gateways(gateway):
            node.exempt = False
            node.apply_nat()

    def masquerade_exemption_restore(self):
        for node in self.gateways.values():
            node.exempt = True
            node.apply_nat()

    # Routes and tunnel of a pod

    def move_default_route(self, pod, device):
        """"eth0" or "wg0"; new and established flows follow it at once."""
        via = ["via", layout.POD_GATEWAY_IP] if device == "eth0" else ["via", "inet6", "fe80::1"]
        host.ip(self.pod(pod).net, "-4", "route", "replace", "default", *via, "dev", device)

    def wg_key_wrong(self, pod):
        """The pod's peer has a public key that no gateway has."""
        pod = self.pod(pod)
        pod.tunnel.remove_peer(pod.gateway.key.public)
        pod.wrong_key = wireguard.Key().public
        pod.set_peer(public=pod.wrong_key)

    def wg_endpoint_wrong(self, pod, endpoint="10.50.0.201:6000"):
        self.pod(pod).set_peer(endpoint=endpoint, fresh=True)

    def wg_allowed_wrong(self, pod, allowed=("192.0.2.11/32",)):
        """Packets to what is not allowed are dropped by the tunnel."""
        self.pod(pod).set_peer(allowed=allowed)

    def wg_repair(self, pod):
        pod = self.pod(pod)
        if getattr(pod, "wrong_key", None):
            pod.tunnel.remove_peer(pod.wrong_key)
            pod.wrong_key = None
        pod.set_peer(fresh=True)

    def peer_missing(self, pod, gateway=None):
        """The gateways forget the pod: packets go out, none returns."""
        pod = self.pod(pod)
        for node in self._gateways(gateway):
            node.tunnels[pod.gateway.port].remove_peer(pod.key.public)

    def peer_restore(self, pod, fresh=True):
        """`fresh`: the pod starts a new session at once instead of after its timers."""
        pod = self.pod(pod)
        for node in self.gateways.values():
            node.add_peer(pod.gateway.port, pod.key.public, pod.ip)
        if fresh:
            pod.set_peer(fresh=True)

    # Gateway nodes and balancer

    def balance(self, gateway, pod=None, fresh=False):
        """The balancer sends outer flows to `gateway` from now on (one pod's only, or all).

        The new node knows the peers but has no session: as in reality it takes the pods 15 s or more to
        start one. With `fresh` they do it at once.
        """
        pods = [self.pod(pod)] if pod else [p for p in self.pods.values() if p.tunnel]
        self.fabric.balance(gateway, pods[0].outer_port() if pod else None)
        if fresh:
            for each in pods:
                each.set_peer(fresh=True)

    def gateway_begins(self, gateway, pod):
        """The node begins a session with the pod from its own address, as one does that has heard nothing for 15 s."""
        pod = self.pod(pod)
        node, port = self.gateways[gateway], pod.gateway.port
        peer = node.tunnels[port].peers()[pod.key.public]
        node.tunnels[port].set_peer(pod.key.public, peer["allowed_ip"], peer["endpoint"], fresh=True)
        with host.inside(node.gwns):
            host.run(["ping", "-n", "-c", "1", "-W", "1", pod.ip], check=False)

    def gateway_down(self, gateway, switch_after=None):
        """Its NIC goes down. The balancer notices after `switch_after` seconds, or never."""
        self.gateways[gateway].nic_down()
        other = next(name for name in self.gateways if name != gateway)
        if switch_after is not None and self.fabric.active == gateway:
            self.fabric.later(switch_after, lambda: self.fabric.balance(other))

    def gateway_up(self, gateway):
        """The balancer does not move flows back by itself."""
        self.gateways[gateway].nic_up()

    def block(self, cidr, pod=None):
        """A firewall of the platform drops what goes to `cidr` (of one SGC's secondaryIPs: pod)."""
        sources = [f"-s {self.pod(pod).gateway.secondary(g)}/32 " for g in self.gateways] if pod else [""]
        with host.inside(self.fabric.net):
            for source in sources:
                host.run(["iptables-nft", "-I", "FORWARD", *source.split(), "-d", cidr, "-j", "DROP"])

    def unblock(self):
        with host.inside(self.fabric.net):
            host.run(["iptables-nft", "-F", "FORWARD"])

    # DNS and echoes

    def dns_dead(self):
        """The server is there and says nothing."""
        self.fabric.dns.signal(signal.SIGSTOP)

    def dns_restore(self):
        self.fabric.dns.signal(signal.SIGCONT)

    def dns_set(self, name, addresses):
        """A name's address or addresses; None: no such name."""
        if addresses is None:
            self.names.pop(name, None)
        else:
            self.names[name] = addresses
        self.fabric.write_hosts()
        self.fabric.dns.signal(signal.SIGHUP)

    def echo_fault(self, echo, kind):
        """An echo ("echo1" … "echo3", "udp") misbehaves for new connections: odd_echo.KINDS, or "dead"."""
        self.world.faults[echo] = kind
        self.world.apply_faults()

    def echo_restore(self, echo=None):
        """One, or all."""
        self.world.faults = {name: kind for name, kind in self.world.faults.items() if echo and name != echo}
        self.world.apply_faults()

    # Exceptions

    def exclude_edit(self, sgc, exclude):
        """spec.excludeCidrs changes; running pods keep their routes."""
        sgc = self.sgc(sgc)
        if not hasattr(sgc, "exclude_before"):
            sgc.exclude_before = list(sgc.exclude)
        self.edit_sgc(sgc.name, sgc.namespace, exclude=list(exclude))

    def exclude_restore(self, sgc):
        sgc = self.sgc(sgc)
        self.edit_sgc(sgc.name, sgc.namespace, exclude=sgc.exclude_before)

    # The agent's surroundings

    def break_inventory(self, text):
        """The file becomes this; write_objects() repairs it."""
        with open(self.inventory_path + ".new", "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(self.inventory_path + ".new", self.inventory_path)
