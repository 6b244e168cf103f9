"""Which addresses the bytes of images go to: a node's own, and those of the nodes that phase 1 has seen.

Standard library only, Python >= 3.6.
"""

import os
from typing import Any, Dict, List

from .facts import PEERS, Refused, read_text


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


def peers(registry: str) -> Dict[str, List[str]]:
    """The addresses of every node, as phase 1 found them there and wrote them down, `NAME ADDRESS…` on each line."""
    lines = (read_text(os.path.join(registry, PEERS)) or "").splitlines()
    words = [line.split() for line in lines if line.strip() and not line.startswith("#")]
    return {name: addresses for name, *addresses in words}


def check_peer(registry: str, node: str, address: str) -> None:
    """Raise Refused unless *address* is one of another node's: of the cluster, and by phase 1's word, not the asker's.

    So the sync key opens no connection to this machine itself, nor to any other service that it can reach.
    """
    known = peers(registry)
    mine = os.environ["SSH_CONNECTION"].split()[2]
    if address not in known.get(node, ()) or mine in known[node]:
        raise Refused(
            f"{node} at {address} is not another node that phase 1 has seen",
            hint="run phase 1 on all nodes: hpc-container-manager registry setup",
        )
