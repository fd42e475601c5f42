"""The platform: router, balancer, address translation, DNS, metadata service; and the internet behind it."""

import os
import socket
import threading

from . import host, layout

LINK_FABRIC, LINK_WORLD = "100.64.0.1", "100.64.0.2"

SYSCTLS = {
    "ipv4/ip_forward": 1, "ipv4/conf/all/rp_filter": 0, "ipv4/conf/default/rp_filter": 0,
    # Link-local addresses are usable at once, not after a second of duplicate detection.
    "ipv6/conf/all/accept_dad": 0, "ipv6/conf/default/accept_dad": 0,
    # An orphaned TCP socket would keep its namespace for minutes after the lab.
    "ipv4/tcp_orphan_retries": 1, "ipv4/tcp_fin_timeout": 5,
}


class Fabric:
    """Every node's link ends here. Nodes believe in one subnet: the fabric answers ARP for all of it."""

    def __init__(self, lab):
        self.lab, self.net = lab, lab.net("fabric")
        self.active = "gw1"
        self.pinned = {}  # outer UDP source port of a pod -> gateway node
        self.extra_nat = {}  # private source -> public address
        self.timers = []

    def link_lines(self):
        lines = [f"link add v{node} netns {self.net} type veth peer name eth0 netns {self.lab.net(node)}"
                 for node in (layout.WORKER, *layout.GATEWAYS)]
        world = self.lab.net("world")
        return lines + [f"link add vworld netns {self.net} type veth peer name eth0 netns {world}"]

    def up(self):
        lines = ["link set lo up", f"addr add {LINK_FABRIC}/30 dev vworld", "link set vworld up",
                 f"route add default via {LINK_WORLD} dev vworld"]
        for node, ip in {layout.WORKER: layout.WORKER_IP, **layout.GATEWAYS}.items():
            lines += [f"addr add {layout.ROUTER_IP}/32 dev v{node}", f"link set v{node} up",
                      f"route add {ip}/32 dev v{node}"]
        lines += [f"addr add {ip}/32 dev lo" for ip in layout.FABRIC_IPS]
        lines += [f"route add 10.60.0.0/16 via {layout.WORKER_IP} dev v{layout.WORKER}"]
        host.ip_batch(lines, self.net)
        for node in (layout.WORKER, *layout.GATEWAYS):
            host.sysctls(self.net, {f"ipv4/conf/v{node}/proxy_arp": 1, f"ipv4/neigh/v{node}/proxy_delay": 0})
        self.apply_nat()
        self.balance(self.active)

    def add_secondaries(self, sgc):
        host.ip_batch([f"route replace {sgc.secondary(gw)}/32 via {ip} dev v{gw}"
                       for gw, ip in layout.GATEWAYS.items()], self.net)

    def balance(self, gateway, port=None):
        """Sends the balancer's address to one gateway node; with `port`, of one outer flow only."""
        ip = layout.GATEWAYS[gateway]
        if port is None:
            host.ip(self.net, "route", "replace", f"{layout.BALANCER_IP}/32", "via", ip, "dev", f"v{gateway}")
            self.active = gateway
            return
        table = str(100 + list(layout.GATEWAYS).index(gateway))
        match = ["to", layout.BALANCER_IP, "ipproto", "udp", "sport", str(port)]
        if port in self.pinned:
            host.ip(self.net, "rule", "del", *match)
        host.ip_batch([f"route replace {layout.BALANCER_IP}/32 via {ip} dev v{gateway} table {table}",
                       f"rule add {' '.join(match)} lookup {table}"], self.net)
        self.pinned[port] = gateway

    def unpin(self):
        """No flow has a gateway node of its own any more."""
        for port in list(self.pinned):
            host.ip(self.net, "rule", "del", "to", layout.BALANCER_IP, "ipproto", "udp", "sport", str(port))
            del self.pinned[port]

    def apply_nat(self):
        """Each secondaryIP becomes its address of the public prefix, everything else the outbound address."""
        pairs = {sgc.secondary(gw): sgc.public(gw) for sgc in self.lab.sgcs.values() if not sgc.private
                 for gw in layout.GATEWAYS}
        pairs.update(self.extra_nat)
        rules = [f"-A PLATFORM -s {private}/32 -j SNAT --to-source {public}" for private, public in pairs.items()]
        # Private mode: a network of the customer's own sees the secondaryIP itself.
        rules += [f"-A PLATFORM -s {sgc.secondary(gw)}/32 -j RETURN" for sgc in self.lab.sgcs.values() if sgc.private
                  for gw in layout.GATEWAYS]
        host.iptables_restore(self.net, "\n".join([
            "*nat", ":PREROUTING ACCEPT", ":INPUT ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT", ":PLATFORM -",
            "-A POSTROUTING -o vworld -j PLATFORM", *rules,
            f"-A PLATFORM -j SNAT --to-source {layout.OUTBOUND_IP}", "COMMIT",
            # A balancer drops packets for a dead node; it does not send ICMP about it.
            "*filter", ":INPUT ACCEPT", ":FORWARD ACCEPT", ":OUTPUT ACCEPT",
            "-A OUTPUT -p icmp -m icmp --icmp-type destination-unreachable -j DROP", "COMMIT", ""]))

    def start_services(self):
        """DNS for cluster and node, and HTTP at the platform's addresses."""
        self.write_hosts()
        self.dns = self.lab.start("fabric", [
            "dnsmasq", "--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--user=root",
            "--pid-file=", "--local=/lab/", "--no-negcache", "--bind-interfaces", "--except-interface=lo",
            f"--listen-address={layout.DNS_IP}", f"--addn-hosts={self.lab.dir}/hosts"], "dnsmasq")
        folder = f"{self.lab.dir}/fabric"
        os.makedirs(f"{folder}/tmp", exist_ok=True)
        listen = "".join(f"listen {ip}:80;" for ip in (layout.IMDS_IP, layout.WIRE_SERVER_IP, layout.INTERNAL_IP))
        self.nginx = start_nginx(self.lab, "fabric", folder, f"""
            server {{ {listen} default_type application/json;
                location / {{ return 200 '{{"ip":"$remote_addr","server":"$server_addr"}}\\n'; }} }}""")

    def write_hosts(self):
        with open(f"{self.lab.dir}/hosts", "w", encoding="ascii") as file:
            for name, addresses in self.lab.names.items():
                for ip in [addresses] if isinstance(addresses, str) else addresses:
                    file.write(f"{ip} {name}\n")

    def ready(self):
        wait_tcp(self.net, layout.DNS_IP, 53)
        wait_tcp(self.net, layout.IMDS_IP, 80)

    def later(self, seconds, action):
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self.timers.append(timer)

    def cancel(self):
        for timer in self.timers:
            timer.cancel()


class World:
    """The internet: echoes that tell the truth, echoes that do not, and a client."""

    def __init__(self, lab):
        self.lab, self.net, self.dir = lab, lab.net("world"), f"{lab.dir}/world"
        self.faults = {}  # echo name -> kind

    def up(self):
        lines = ["link set lo up", f"addr add {LINK_WORLD}/30 dev eth0", "link set eth0 up",
                 f"route add default via {LINK_FABRIC} dev eth0"]
        host.ip_batch(lines + [f"addr add {ip}/32 dev lo" for ip in layout.WORLD_IPS], self.net)
        host.sysctls(self.net, {"ipv4/ip_forward": 0})

    def start_services(self):
        os.makedirs(f"{self.dir}/tmp", exist_ok=True)
        tls = f"ssl_certificate {self.dir}/server.crt; ssl_certificate_key {self.dir}/server.key;"
        listen = "".join(f"listen {ip}:80; listen {ip}:443 ssl;" for ip in layout.ECHOES.values())
        answers = r"""default_type text/plain;
                location / { return 200 "$remote_addr\n"; }
                location /json { default_type application/json; return 200 '{"ip":"$remote_addr"}\n'; }
                location /trace { return 200 "fl=1\nh=$host\nip=$remote_addr\nts=$msec\n"; }"""
        wrong = f"""server {{ listen {layout.WRONG_NAME_IP}:443 ssl;
                ssl_certificate {self.dir}/other.crt; ssl_certificate_key {self.dir}/other.key; {answers} }}"""
        self.nginx = start_nginx(self.lab, "world", self.dir,
                                 f"server {{ {listen} {tls} {answers} }} {wrong}", log=True)
        program = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "odd_echo.py")
        self.odd = self.lab.start("world", [self.lab.python, program, self.dir], "odd_echo")

    def ready(self):
        wait_tcp(self.net, layout.ECHOES["echo1"], 443)
        wait_tcp(self.net, layout.ODD_IP, 80)

    def apply_faults(self):
        """New connections to an echo go to the odd server's port of that kind, or nowhere."""
        import odd_echo  # beside lab.py
        nat, drop = [], []
        for name, kind in self.faults.items():
            ip = layout.ECHOES.get(name) or layout.NAMES[f"{name}.lab"]
            if kind == "dead":
                drop.append(f"-A INPUT -d {ip}/32 -j DROP")
                continue
            for port, to in odd_echo.targets(kind).items():
                proto = "udp" if port == layout.STUN_PORT else "tcp"
                nat.append(f"-A PREROUTING -d {ip}/32 -p {proto} -m {proto} --dport {port} "
                           f"-j DNAT --to-destination {to}")
        host.iptables_restore(self.net, "\n".join([
            "*nat", ":PREROUTING ACCEPT", ":INPUT ACCEPT", ":OUTPUT ACCEPT", ":POSTROUTING ACCEPT", *nat, "COMMIT",
            "*filter", ":INPUT ACCEPT", ":FORWARD ACCEPT", ":OUTPUT ACCEPT", *drop, "COMMIT", ""]))

    def requests(self):
        """What the good echoes saw: [(time, source address, echo address, path)]."""
        with open(f"{self.dir}/access.log", encoding="ascii") as file:
            rows = [line.split() for line in file]
        return [(float(r[0]), r[1], r[2], r[3]) for r in rows if len(r) >= 4]


def start_nginx(lab, node, folder, servers, log=False):
    access = f"log_format short '$msec $remote_addr $server_addr $uri'; access_log {folder}/access.log short;"
    temporary = " ".join(f"{kind}_temp_path {folder}/tmp;" for kind in
                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    with open(f"{folder}/nginx.conf", "w", encoding="ascii") as file:
        file.write(f"""daemon off; worker_processes 1; user root; pid {folder}/nginx.pid;
            error_log {folder}/error.log warn; events {{ worker_connections 4096; }}
            http {{ {access if log else 'access_log off;'} {temporary}
                ssl_session_cache shared:tls:1m; keepalive_timeout 30; {servers} }}""")
    argv = ["nginx", "-e", f"{folder}/error.log", "-p", folder, "-c", f"{folder}/nginx.conf"]
    return lab.start(node, argv, f"nginx-{node}")


def make_certificates(folder):
    """An authority, a server certificate for the echoes, one for another name, one of nobody's authority."""
    os.makedirs(folder, exist_ok=True)
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30"]

    def certificate(name, subject, extra):
        host.run(["openssl", "req", "-x509", *curve, "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.crt",
                  "-subj", f"/CN={subject}", *extra])

    def server(name, subject, alternatives, ca="ca"):
        certificate(name, subject, ["-CA", f"{folder}/{ca}.crt", "-CAkey", f"{folder}/{ca}.key", "-addext",
                                    f"subjectAltName={alternatives}", "-addext", "basicConstraints=CA:FALSE"])

    certificate("ca", "lab authority", [])
    names = [f"DNS:{name}" for name in layout.NAMES if name != "wrongname.lab"]
    names += [f"IP:{ip}" for ip in layout.WORLD_IPS]
    server("server", "echo1.lab", ",".join(names))
    server("other", "other.example", "DNS:other.example")
    certificate("untrusted", "echo1.lab", ["-addext", f"subjectAltName={','.join(names)}"])


def wait_tcp(net, ip, port, timeout=host.PATIENCE):
    def answers():
        try:
            with host.inside(net), socket.create_connection((ip, port), 1):
                return True
        except OSError:
            return False
    host.wait_for(answers, f"{ip}:{port} answers", timeout)
