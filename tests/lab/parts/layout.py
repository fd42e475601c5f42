"""Names and addresses, as in the recordings of the real programs, and the objects that carry them."""

import datetime
import uuid as uuid_module
from dataclasses import dataclass, field

WORKER, WORKER_IP = "w1", "10.50.0.4"
GATEWAYS = {"gw1": "10.50.0.10", "gw2": "10.50.0.11"}
BALANCER_IP = "10.50.0.200"
ROUTER_IP = "10.50.0.1"  # the fabric, on every node's link
POD_GATEWAY_IP = "10.60.1.1"
OUTBOUND_IP = "198.51.100.77"  # the cluster's outbound address
CLIENT_IP = "198.51.100.7"  # somebody on the internet who opens connections into pods
DNS_IP = "10.0.0.10"
INTERNAL_IP = "10.50.7.7"  # a server inside excludeCidrs
IMDS_IP, WIRE_SERVER_IP = "169.254.169.254", "168.63.129.16"
FABRIC_IPS = [DNS_IP, INTERNAL_IP, IMDS_IP, WIRE_SERVER_IP]

# The internet. Good echoes are nginx; everything else is odd_echo.py.
ECHOES = {"echo1": "192.0.2.10", "echo2": "192.0.2.11", "echo3": "192.0.2.12"}
UDP_ECHO_IP = "192.0.2.13"  # for `egress-verifier echo`
ODD_IP = "192.0.2.14"
WRONG_NAME_IP = "192.0.2.15"
DEAD_IP = "192.0.2.99"  # nobody: packets vanish
WORLD_IPS = [*ECHOES.values(), UDP_ECHO_IP, ODD_IP, WRONG_NAME_IP, CLIENT_IP]
UNKNOWN_PUBLIC_IP = "203.0.113.200"  # belongs to no gateway
LIE_IP, LIE2_IP = "203.0.113.250", "203.0.113.251"  # what lying echoes say
NAMES = {
    **{f"{name}.lab": ip for name, ip in ECHOES.items()},
    "udp.lab": UDP_ECHO_IP, "odd.lab": ODD_IP, "wrongname.lab": WRONG_NAME_IP, "dead.lab": DEAD_IP,
    "internal.lab": INTERNAL_IP, "client.lab": CLIENT_IP,
}
TCP_TALK_PORT = 9000  # says "from ADDRESS PORT", then repeats every line; UDP: answers "ADDRESS PORT"
STUN_PORT = 3478

CNI_EXCLUDED = ["169.254.169.254/32", "169.254.10.11/32", "10.0.0.0/16"]
CLUSTER_CIDRS = ["10.50.0.0/16", "10.60.0.0/16", "10.0.0.0/16"]
NAMESPACE = "payments"
MARK, MARK_TABLE = "0x2222", "8738"


def timestamp(moment=None):
    moment = moment or datetime.datetime.now(datetime.timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def new_uid():
    return str(uuid_module.uuid4())


@dataclass
class Sgc:
    """A StaticGatewayConfiguration, as declared and as laid on the gateway nodes.

    Fields without "laid" are what the objects say; change them with Lab.edit_sgc().
    """

    name: str
    index: int  # decides addresses and port
    namespace: str = NAMESPACE
    default_route: str = "staticEgressGateway"
    exclude: list = field(default_factory=list)
    private: bool = False  # provisionPublicIps: false
    prefix: str = None  # None: as laid
    server_key: str = None  # None: as laid
    deleted: bool = False  # has a deletionTimestamp
    listed: bool = True  # False: the objects are gone, the data path is not
    uid: str = field(default_factory=new_uid)
    created: str = field(default_factory=timestamp)
    key: object = None  # laid

    @property
    def port(self):
        return 6000 + self.index

    def secondary(self, gateway):
        """secondaryIP of a gateway node: .20/.21 for the first, .30/.31 for the second …"""
        return f"10.50.1.{20 + 10 * self.index + list(GATEWAYS).index(gateway)}"

    @property
    def public_base(self):
        return {0: 68, 1: 100}.get(self.index, 102 + 2 * self.index)

    def public(self, gateway):
        """The address that the platform gives secondary(gateway)."""
        if self.private:
            return self.secondary(gateway)
        return f"203.0.113.{self.public_base + list(GATEWAYS).index(gateway)}"

    @property
    def laid_prefix(self):
        if self.private:
            return ",".join(self.secondary(gateway) for gateway in GATEWAYS)
        return f"203.0.113.{self.public_base}/31"
