"""Which of a node's addresses the bytes of images go to. Standard library only, Python >= 3.6."""

import os
from typing import Any

from .facts import Refused


def own_address(network: Any) -> str:
    """This node's address in *network* (CIDR); without one, the address that the controller's ssh came to."""
    if not network:
        return os.environ["SSH_CONNECTION"].split()[2]
    import ipaddress  # here, as most sites have one network
    import socket

    wanted = ipaddress.ip_network(network)
    family = socket.AF_INET6 if wanted.version == 6 else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        # This sends nothing: a datagram socket only finds its route.
        probe.connect((str(wanted.network_address + 1), 9))
        address = probe.getsockname()[0]
    if ipaddress.ip_address(address) not in wanted:
        raise Refused(f"no address in {network} here")
    return str(address)
