"""The lab itself, without the product: every layer is as the recordings of the real programs show it."""

import os
import re

import pytest

from lab import LabError
from parts import host, layout, objects
from parts.witness import Leaving


def shape(text):
    """Without what differs from run to run: device suffixes, link-local addresses, counters, comments."""
    rows = (re.sub(r"veth[0-9a-f]{8}", "vethN", line) for line in text.splitlines())
    rows = (re.sub(r"fe80::[0-9a-f:]{5,}", "fe80::LL", line) for line in rows)
    rows = (re.sub(r" ?\[\d+:\d+\]", "", line).rstrip() for line in rows)
    return sorted(row for row in rows if row and not row.startswith("#"))


def routes(net, family="-4"):
    return [row for row in shape(host.ip(net, family, "route", "show", "table", "all")) if "table local" not in row]


# As recorded

ROUTES = {
    "pa": ["10.0.0.0/16 via 10.60.1.1 dev eth0 proto static", "10.50.0.0/16 via 10.60.1.1 dev eth0 proto static",
           "10.60.0.0/16 via 10.60.1.1 dev eth0 proto static", "10.60.1.1 dev eth0 scope link",
           "169.254.10.11 via 10.60.1.1 dev eth0 proto static", "169.254.169.254 via 10.60.1.1 dev eth0 proto static",
           "default via 10.60.1.1 dev eth0 table 8738", "default via inet6 fe80::1 dev wg0"],
    "pb": ["10.60.1.0/24 via 10.60.1.1 dev eth0 src 10.60.1.3", "10.60.1.1 dev eth0 scope link src 10.60.1.3",
           "192.0.2.11 via inet6 fe80::1 dev wg0", "default via 10.60.1.1 dev eth0",
           "default via 10.60.1.1 dev eth0 table 8738"],
    "pc": ["10.60.1.0/24 via 10.60.1.1 dev eth0 src 10.60.1.4", "10.60.1.1 dev eth0 scope link src 10.60.1.4",
           "default via 10.60.1.1 dev eth0"],
    "w1": ["10.50.0.0/16 dev eth0 proto kernel scope link src 10.50.0.4", "10.60.1.2 dev vethN scope host",
           "10.60.1.3 dev vethN scope host", "10.60.1.4 dev vethN scope host", "default via 10.50.0.1 dev eth0"],
    "gw1": ["10.50.0.0/16 dev eth0 proto kernel scope link src 10.50.0.10", "10.50.1.20 dev host-gateway",
            "10.50.1.30 dev host-gateway", "default via 10.50.0.1 dev eth0"],
    "gw2-gwns": ["10.50.0.11 dev host0 scope link", "10.60.1.2 dev wg-6000 scope link",
                 "10.60.1.3 dev wg-6001 scope link", "default via 10.50.0.11 dev host0"],
}
ROUTES6 = {
    "pa": ["fe80::/64 dev wg0 proto kernel metric 256 pref medium"],
    "pb": ["fe80::/64 dev eth0 proto kernel metric 256 pref medium",
           "fe80::/64 dev wg0 proto kernel metric 256 pref medium"],
    "gw1-gwns": ["fe80::/64 dev wg-6000 proto kernel metric 256 pref medium",
                 "fe80::/64 dev wg-6001 proto kernel metric 256 pref medium"],
}


@pytest.mark.parametrize("where", ROUTES)
def test_routes_as_recorded(lab, where):
    assert routes(lab.net(where)) == ROUTES[where]


@pytest.mark.parametrize("where", ROUTES6)
def test_ipv6_routes_as_recorded(lab, where):
    rows = [row for row in routes(lab.net(where), "-6") if not row.startswith("multicast")]
    assert rows == ROUTES6[where]


@pytest.mark.parametrize("pod", ["pa", "pb"])
def test_reply_rules_as_recorded(lab, pod):
    net = lab.net(pod)
    assert "32765:\tfrom all fwmark 0x2222 lookup 8738" in shape(host.ip(net, "-4", "rule"))
    rows = [row for row in shape(host.iptables_save(net)) if row.startswith("-A")]
    assert rows == [
        "-A OUTPUT -m connmark --mark 0x2222 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff",
        "-A PREROUTING -i eth0 -j MARK --set-xmark 0x2222/0xffffffff",
        "-A PREROUTING -j CONNMARK --save-mark --nfmask 0xffffffff --ctmask 0xffffffff"]
    with host.inside(net):
        filters = {name: open(f"/proc/sys/net/ipv4/conf/{name}/rp_filter", encoding="ascii").read().strip()
                   for name in ("all", "eth0", "wg0")}
    assert filters == {"all": "2", "eth0": "2", "wg0": "0"}


def test_pod_without_gateway_has_no_rules(lab):
    assert shape(host.iptables_save(lab.net("pc"))) == []
    assert "fwmark" not in host.ip(lab.net("pc"), "rule")


def test_gateway_chains_as_recorded(lab):
    saved = [row for row in shape(host.iptables_save(lab.net("gw1-gwns"))) if row.startswith("-A EGRESS")]
    assert saved == [
        "-A EGRESS-GATEWAY-MARK-6000 -i wg-6000 -j CONNMARK --set-xmark 0x1770/0xffffffff",
        "-A EGRESS-GATEWAY-MARK-6001 -i wg-6001 -j CONNMARK --set-xmark 0x1771/0xffffffff",
        "-A EGRESS-GATEWAY-SNAT-6000 -o host0 -m connmark --mark 0x1770 -j SNAT --to-source 10.50.1.20",
        "-A EGRESS-GATEWAY-SNAT-6001 -o host0 -m connmark --mark 0x1771 -j SNAT --to-source 10.50.1.30"]
    on_host = [re.sub(r'-m comment --comment "[^"]*" ', "", line)
               for line in host.iptables_save(lab.net("gw1")).splitlines() if line.startswith("-A")]
    assert on_host == [
        "-A POSTROUTING -j EGRESS-GATEWAY-SNAT", "-A POSTROUTING -m addrtype ! --dst-type LOCAL -j IP-MASQ-AGENT",
        "-A EGRESS-10-50-1-20 -s 10.50.1.20/32 -j ACCEPT", "-A EGRESS-10-50-1-30 -s 10.50.1.30/32 -j ACCEPT",
        "-A EGRESS-GATEWAY-SNAT -j EGRESS-10-50-1-30", "-A EGRESS-GATEWAY-SNAT -j EGRESS-10-50-1-20",
        "-A IP-MASQ-AGENT -d 10.50.0.0/16 -j RETURN", "-A IP-MASQ-AGENT -d 10.60.0.0/16 -j RETURN",
        "-A IP-MASQ-AGENT -j MASQUERADE"]


def test_tunnel_link_as_recorded(lab):
    pa = lab.pod("pa")
    text = host.ip(pa.net, "-d", "link", "show", "wg0")
    assert f"alias wg{pa.uid[:8]}" in text and "mtu 1420" in text and "addrgenmode none" in text
    addresses = host.ip(pa.net, "-o", "-6", "addr")
    eth0, wg0 = (re.search(rf"{device}\s+inet6 (\S+)", addresses).group(1) for device in ("eth0", "wg0"))
    assert eth0 == wg0
    assert "eth0:egress" in host.ip(lab.net("gw2"), "-o", "-4", "addr")


def test_peers_on_every_gateway(lab):
    pa, pb = lab.pod("pa"), lab.pod("pb")
    for gateway in lab.gateways.values():
        assert gateway.tunnels[6000].peers()[pa.key.public]["allowed_ip"] == [f"{pa.ip}/32"]
        assert gateway.tunnels[6001].peers()[pb.key.public]["allowed_ip"] == [f"{pb.ip}/32"]
    (peer,) = pa.tunnel.peers().values()
    assert peer["endpoint"] == "10.50.0.200:6000" and peer["allowed_ip"] == ["0.0.0.0/0", "::/0"]


def test_outer_socket_is_the_nodes(lab):
    """The encrypted packets' socket lives on the node; the pod has none (as live)."""
    port = f":{lab.pod('pa').outer_port()} "
    with host.inside(lab.net("w1")):
        assert port in host.run(["ss", "-nua"])
    with host.inside(lab.net("pa")):
        assert port not in host.run(["ss", "-nua"])


# Real packets

@pytest.mark.parametrize("pod, url, seen", [
    ("pa", "http://192.0.2.10/", "203.0.113.68"),
    ("pa", "http://echo2.lab/", "203.0.113.68"),
    ("pa", "https://echo3.lab/", "203.0.113.68"),
    ("pa", "https://192.0.2.11/json", '{"ip":"203.0.113.68"}'),
    ("pb", "http://192.0.2.11/", "203.0.113.100"),
    ("pb", "http://192.0.2.10/", layout.OUTBOUND_IP),
    ("pc", "http://echo1.lab/", layout.OUTBOUND_IP),
    ("pa", f"http://{layout.INTERNAL_IP}/", '{"ip":"10.60.1.2","server":"10.50.7.7"}'),
    ("pa", f"http://{layout.IMDS_IP}/", '{"ip":"10.50.0.4","server":"169.254.169.254"}'),
])
def test_who_is_seen(lab, pod, url, seen):
    assert lab.pod(pod).curl(url) == seen


def test_trace_form(lab):
    assert "\nip=203.0.113.68\n" in lab.pod("pa").curl("https://echo3.lab/trace")


def test_udp_and_icmp(lab):
    pa = lab.pod("pa")
    code, lines = pa.udp("192.0.2.10", count=2)
    assert code == 0 and all(line.split()[3] == "203.0.113.68" for line in lines)
    assert pa.ping("192.0.2.10")[0] == 0


@pytest.mark.parametrize("address, device", [
    ("192.0.2.10", "wg0"), ("192.0.2.11", "wg0"), (layout.INTERNAL_IP, "eth0"), (layout.IMDS_IP, "eth0"),
    (layout.DNS_IP, "eth0"), ("10.60.1.3", "eth0")])
def test_device_of_destination(lab, address, device):
    pa = lab.pod("pa")
    leaving = {name: Leaving(pa, "-o", name, "-p", "icmp", "-d", address) for name in ("eth0", "wg0")}
    pa.ping(address, count=5, timeout=1)
    sent = {name: rule.read()[0] for name, rule in leaving.items()}
    for rule in leaving.values():
        rule.remove()
    assert sent == {"eth0": 0, "wg0": 0, device: 5}


def test_conntrack_in_gateway_namespace(lab):
    pa = lab.pod("pa")
    held = pa.hold("192.0.2.10")
    rows = lab.gateways[lab.fabric.active].conntrack("-p", "tcp", "--orig-src", pa.ip, "--dport", "9000")
    held.kill()
    assert any("mark=6000" in row and "dst=10.50.1.20 " in row for row in rows), rows


@pytest.mark.parametrize("gateway, bind, seen", [
    ("gw1-gwns", "10.50.1.20", "203.0.113.68"), ("gw1-gwns", "10.50.1.30", "203.0.113.100"),
    ("gw2-gwns", "10.50.1.21", "203.0.113.69"), ("gw2-gwns", "10.50.1.31", "203.0.113.101"),
    ("gw1", "10.50.0.10", layout.OUTBOUND_IP)])
def test_bound_on_gateway_node(lab, gateway, bind, seen):
    with host.inside(lab.net(gateway)):
        assert host.run(["curl", "-sS", "-m", "5", "--interface", bind, "http://192.0.2.10/"]).strip() == seen


def test_secondary_cannot_be_bound_on_the_host(lab):
    with host.inside(lab.net("gw1")):
        with pytest.raises(LabError, match="exit 45"):
            host.run(["curl", "-sS", "-m", "5", "--interface", "10.50.1.20", "http://192.0.2.10/"])


def test_inbound_is_answered_by_eth0(lab):
    pa = lab.pod("pa")
    server = pa.serve(8088)
    leaving = {name: Leaving(pa, "-o", name, "-p", "tcp", "--sport", "8088") for name in ("eth0", "wg0")}
    for _ in range(5):
        assert lab.inbound("pa", 8088) == layout.CLIENT_IP
    sent = {name: rule.read()[0] for name, rule in leaving.items()}
    for rule in leaving.values():
        rule.remove()
    marks = [row for row in pa.conntrack("-p", "tcp", "--dport", "8088") if "mark=8738" in row]
    server.kill()
    assert sent["eth0"] >= 15 and sent["wg0"] == 0
    assert marks


def test_mark_is_on_own_flows_over_eth0_too(lab):
    pa = lab.pod("pa")
    assert pa.curl(f"http://{layout.IMDS_IP}/")
    rows = pa.conntrack("-p", "tcp", "--orig-dst", layout.IMDS_IP)
    assert any("mark=8738" in row for row in rows), rows


def test_pods_processes_are_in_its_cgroup(lab):
    pa = lab.pod("pa")
    _, text = pa.run(["cat", "/proc/self/cgroup"])
    assert f"/kubepods/burstable/pod{pa.uid}/main" in text


def test_requests_seen_by_the_world(lab):
    lab.pod("pa").curl("http://192.0.2.12/some-path")
    # It is written down after it was answered.
    wanted = ("203.0.113.68", "192.0.2.12", "/some-path")
    host.wait_for(lambda: wanted in [row[1:] for row in lab.requests()], f"the request {wanted}")


# Balancer

def test_balance_moves_the_pod(lab):
    pa = lab.pod("pa")
    lab.balance("gw2", fresh=True)
    try:
        assert pa.curl("http://192.0.2.10/") == "203.0.113.69"
        lab.balance("gw1", pod="pa", fresh=True)
        assert pa.curl("http://192.0.2.10/") == "203.0.113.68"
        assert lab.pod("pb").curl("http://192.0.2.11/") == "203.0.113.101"
        lab.balance("gw2", pod="pa", fresh=True)
        assert pa.curl("http://192.0.2.10/") == "203.0.113.69"
    finally:
        lab.fabric.unpin()
        lab.balance("gw1", fresh=True)
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_gateway_node_dies(lab):
    """The real outage was 14 to 15 s with the switch after 6 s; it is WireGuard's timers that decide."""
    pa = lab.pod("pa")
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"
    lab.gateway_down("gw1", switch_after=1)
    try:
        assert pa.curl("http://192.0.2.10/", 1) is None
        asks = pa.traffic("http", "http://192.0.2.10/", "--forever", "--timeout", "1", "--interval", "0.1")
        line = asks.wait_line(" ok ")
        asks.kill()
        assert line.endswith("203.0.113.69")
    finally:
        lab.gateway_up("gw1")
        lab.balance("gw1", fresh=True)
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


# Faults and repairs

@pytest.mark.parametrize("fault, seen", [
    (lambda lab: lab.snat_wrong_address("blue"), layout.UNKNOWN_PUBLIC_IP),
    (lambda lab: lab.snat_wrong_address("blue", public=None), layout.OUTBOUND_IP),
    (lambda lab: lab.snat_other_sgc("blue", "red"), "203.0.113.100"),
    (lambda lab: lab.snat_missing("blue"), layout.OUTBOUND_IP),
], ids=["unknown", "outbound", "other-sgc", "missing"])
def test_snat_faults(lab, fault, seen):
    pa = lab.pod("pa")
    fault(lab)
    try:
        assert pa.curl("http://192.0.2.10/") == seen
        code, lines = pa.udp("192.0.2.11")
        assert code == 0 and lines[0].split()[3] == seen
        assert lab.pod("pb").curl("http://192.0.2.11/") == "203.0.113.100"
    finally:
        lab.repair_snat("blue")
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_snat_missing_as_it_is(lab):
    """Without a way back into the tunnel no TCP connection opens: the answer comes in by eth0."""
    pa = lab.pod("pa")
    lab.snat_missing("blue", answered=False)
    try:
        assert pa.curl("http://192.0.2.10/", 1) is None
    finally:
        lab.repair_snat("blue")
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_double_snat(lab):
    pa = lab.pod("pa")
    lab.masquerade_exemption_missing()
    try:
        assert pa.curl("http://192.0.2.10/") == layout.OUTBOUND_IP
    finally:
        lab.masquerade_exemption_restore()
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_default_route_moved(lab):
    pa = lab.pod("pa")
    lab.move_default_route("pa", "eth0")
    try:
        assert pa.curl("http://192.0.2.10/") == layout.OUTBOUND_IP
    finally:
        lab.move_default_route("pa", "wg0")
    assert routes(pa.net) == ROUTES["pa"]
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_established_flow_follows_the_route(lab):
    pa = lab.pod("pa")
    held = pa.hold("192.0.2.10", timeout=0.5)
    held.wait_line(" ok")
    lab.move_default_route("pa", "eth0")
    try:
        before = pa.packets("eth0")[1]
        host.wait_for(lambda: pa.packets("eth0")[1] > before, "packets of the old connection on eth0")
    finally:
        lab.move_default_route("pa", "wg0")
        held.kill()


@pytest.mark.parametrize("fault, repair", [
    ("wg_key_wrong", "wg_repair"), ("wg_endpoint_wrong", "wg_repair"), ("wg_allowed_wrong", "wg_repair"),
    ("peer_missing", "peer_restore")])
def test_tunnel_faults(lab, fault, repair):
    pa = lab.pod("pa")
    getattr(lab, fault)("pa")
    try:
        assert pa.curl("http://192.0.2.10/", 1) is None
    finally:
        getattr(lab, repair)("pa")
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


def test_dns_dead(lab):
    pa = lab.pod("pa")
    lab.dns_dead()
    try:
        assert pa.curl("http://echo1.lab/", 1) is None
        assert pa.curl("http://192.0.2.10/") == "203.0.113.68"
    finally:
        lab.dns_restore()
    assert pa.curl("http://echo1.lab/") == "203.0.113.68"


@pytest.mark.parametrize("kind, expected", [
    ("lie", layout.LIE_IP), ("500", "203.0.113.68"), ("private", "10.1.2.3"), ("two", "203.0.113.68, 203.0.113.250"),
    ("html", "<html><body><h1>Login</h1>203.0.113.68</body></html>"), ("redirect", "203.0.113.68"), ("empty", ""),
    ("429", "203.0.113.68"), ("ipv6", "2001:db8::1"), ("down", None), ("dead", None), ("hang", None), ("slow", None),
    ("reset", None), ("drip", None)])
def test_echo_faults(lab, kind, expected):
    pa = lab.pod("pa")
    lab.echo_fault("echo1", kind)
    try:
        for url in ("http://192.0.2.10/", "https://echo1.lab/"):
            assert pa.curl(url, 1 if expected is None else 5) == expected
        assert pa.curl("http://192.0.2.11/") == "203.0.113.68"
    finally:
        lab.echo_restore()
    assert pa.curl("http://192.0.2.10/") == "203.0.113.68"


@pytest.mark.parametrize("kind", ["wrongname", "untrusted"])
def test_echo_tls_faults(lab, kind):
    pa = lab.pod("pa")
    lab.echo_fault("echo1", kind)
    try:
        code, output = pa.run(["curl", "-sS", "-m", "5", "https://echo1.lab/"])
        assert code == 60, output
    finally:
        lab.echo_restore()


def test_echo_big_and_by_path(lab):
    code, output = lab.pod("pa").run(["curl", "-sS", "-m", "10", "-o", "/dev/null", "-w", "%{http_code} %{size_download}",
                                      "http://odd.lab/big"])
    assert (code, output) == (0, "200 10485760")
    assert lab.pod("pa").curl("https://odd.lab/lie/json") == f'{{"ip":"{layout.LIE_IP}"}}'


def test_firewall(lab):
    lab.block("192.0.2.10/32", pod="pa")
    try:
        assert lab.pod("pa").curl("http://192.0.2.10/", 1) is None
        assert lab.pod("pc").curl("http://192.0.2.10/") == layout.OUTBOUND_IP
    finally:
        lab.unblock()


# Pods, SGCs and objects

def test_pod_without_tunnel(lab):
    pod = lab.add_pod("unprogrammed", sgc="blue", wg=False)
    assert pod.curl("http://192.0.2.10/") == layout.OUTBOUND_IP
    assert "wg0" not in host.ip(pod.net, "link")
    path, net = pod.netns_path, pod.net
    assert os.stat(path).st_ino == os.stat(f"{host.NETNS_DIR}/{net}").st_ino
    lab.delete_pod("unprogrammed")
    assert not os.path.exists(path) and net not in host.netns_list() and not os.path.exists(pod.cgroup)


def test_recreated_pod_is_another(lab):
    first = lab.add_pod("again", sgc="blue")
    assert first.curl("http://192.0.2.10/") == "203.0.113.68"
    held = first.hold("192.0.2.10")
    lab.delete_pod("again")
    assert not held.alive()
    second = lab.add_pod("again", sgc="blue")
    assert second.uid != first.uid and second.ip != first.ip
    assert second.curl("http://192.0.2.10/") == "203.0.113.68"
    lab.delete_pod("again")
    assert first.key.public not in lab.gateways["gw1"].tunnels[6000].peers()


def test_private_sgc(lab):
    lab.add_sgc("green", private=True)
    pod = lab.add_pod("pg", sgc="green")
    assert pod.curl("http://192.0.2.10/") == "10.50.1.40"
    lab.delete_pod("pg")
    lab.remove_sgc("green")
    assert "wg-6002" not in host.ip(lab.net("gw1-gwns"), "link")


def test_host_network_pod(lab):
    pod = lab.add_pod("onhost", sgc="blue", host_network=True)
    assert pod.ip == layout.WORKER_IP
    assert pod.curl("http://192.0.2.10/") == layout.OUTBOUND_IP
    lab.delete_pod("onhost")
    assert "ev" in "".join(host.netns_list())


def test_inventory_file(lab):
    with open(lab.inventory_path, encoding="utf-8") as file:
        text = file.read()
    assert "kind: StaticGatewayConfiguration" in text and "egressIpPrefix: 203.0.113.68/31" in text
    assert text.startswith("apiVersion: v1\nitems:\n- apiVersion: v1\n  kind: Pod\n")
    lab.edit_sgc("blue", prefix="10.0.1.8,,10.0.1.9")
    with open(lab.inventory_path, encoding="utf-8") as file:
        assert 'egressIpPrefix: "10.0.1.8,,10.0.1.9"' in file.read()
    lab.edit_sgc("blue", prefix=None)


@pytest.mark.parametrize("value, text", [
    ({"a": {"b": []}, "c": [1, {"d": "e", "f": ["g"]}]}, "a:\n  b: []\nc:\n- 1\n- d: e\n  f:\n  - g\n"),
    ({"a": "true", "b": "1", "c": "x: y", "d": "", "e": None, "f": "10.0.0.1", "g": True},
     'a: "true"\nb: "1"\nc: "x: y"\nd: ""\ne: null\nf: 10.0.0.1\n"g": true\n'.replace('"g"', "g")),
])
def test_yaml(value, text):
    assert objects.yaml(value) == text
