"""What runs inside a guest: what only a guest can check, and tests of the lab that meet the kernel."""

TOO_OLD = ["tests/kernels/guest/check_too_old.py"]
CHECKS = "tests/kernels/guest/check_kernel.py"
TESTS = [
    *(f"{CHECKS}::{name}" for name in (
        "test_this_is_the_kernel", "test_nothing_is_missing", "test_bypass_is_seen_and_ends", "test_facts_of_the_kernels_tunnel",
        "test_cgroup_of_a_pod_in_the_one_hierarchy", "test_deleted_pod_leaves_no_pins")),
    # Packets: counted exactly, of every protocol, on moved routes.
    "tests/lab/test_bypass.py::test_flows_through_the_gateway_are_counted_exactly",
    "tests/lab/test_bypass.py::test_other_protocols_bypass_as_well",
    "tests/lab/test_bypass.py::test_ipv6_past_the_gateway_is_a_bypass_and_link_local_is_not",
    "tests/lab/test_bypass.py::test_moved_default_route_established_connections",
    # What the processes give up, and programs that outlive them.
    "tests/lab/test_privileges.py::test_what_each_process_may",
    "tests/lab/test_privileges.py::test_one_process_dies[9-broker]",
]
MORE = [
    CHECKS,
    "tests/lab/test_bypass.py",
    "tests/lab/test_privileges.py::test_what_each_process_may",
    "tests/lab/test_privileges.py::test_one_process_dies",
    "tests/lab/test_privileges.py::test_exactly_these_capabilities",
    # The lab itself, with the kernel's WireGuard.
    "tests/lab/test_lab.py",
    # The gateway nodes' translation, objects against live routes.
    "tests/lab/test_source.py::test_wrong_address",
    "tests/lab/test_stale.py",
    # Namespaces, and cgroups of both drivers.
    "tests/lab/test_discovery.py",
]


def selection(kernel, all_of_it=False):
    """`all_of_it`: what takes a quarter of an hour."""
    if kernel == "5.10":
        return TOO_OLD
    return MORE if all_of_it else TESTS
