"""What runs inside a guest: tests of the lab that meet the kernel, and what only a guest can check."""

CHECKS = "tests/kernels/guest/check_kernel.py"
TOO_OLD = ["tests/kernels/guest/check_too_old.py"]
TESTS = [
    CHECKS,
    # The lab itself, with the kernel's WireGuard.
    "tests/lab/test_lab.py::test_tunnel_link_as_recorded",
    "tests/lab/test_lab.py::test_peers_on_every_gateway",
    "tests/lab/test_lab.py::test_outer_socket_is_the_nodes",
    "tests/lab/test_lab.py::test_who_is_seen",
    "tests/lab/test_lab.py::test_udp_and_icmp",
    # Packets: counted exactly, of every protocol, on moved routes.
    "tests/lab/test_bypass.py",
    # What the processes give up, and programs that outlive them.
    "tests/lab/test_privileges.py::test_what_each_process_may",
    "tests/lab/test_privileges.py::test_one_process_dies[9-broker]",
    "tests/lab/test_privileges.py::test_exactly_these_capabilities",
    # The gateway nodes' translation, objects against live routes.
    "tests/lab/test_source.py::test_wrong_address",
    "tests/lab/test_stale.py::test_stale",
    # Namespaces, and cgroups of both drivers.
    "tests/lab/test_discovery.py",
]


def selection(kernel):
    return TOO_OLD if kernel == "5.10" else TESTS
