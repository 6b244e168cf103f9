"""Inventories of many kinds: what each is called, its files, and the words of its refusal; () for one that is read.

Files are text by their paths; the inventory is `hosts`, with an extension or without, or the directory `inventory`.
"""

from __future__ import annotations

from dataclasses import dataclass

HEAD = "[controller]\nhead\n[compute]\nc[001:003]\n"
YAML = "all:\n  children:\n    controller: {hosts: {head: }}\n    compute: {hosts: {'c[001:003]': }}\n"

KEY = f"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{'A' * 43}"


@dataclass(frozen=True)
class Example:
    """One inventory. `refused`: what must be named; `jump`: the controller's, where it has one."""

    name: str
    files: dict[str, str]
    refused: tuple[str, ...] = ()
    jump: str = ""

    @property
    def target(self) -> str:
        return next(iter(self.files)).split("/")[0]


def ini(name: str, variables: str, *refused: str, jump: str = "") -> Example:
    """Groups controller and compute, and variables of all hosts."""
    return Example(name, {"hosts.ini": f"{HEAD}[all:vars]\n{variables}\n"}, refused, jump)


def yaml(name: str, variables: str, *refused: str) -> Example:
    return Example(name, {"hosts.yml": f"{YAML}  vars: {variables}\n"}, refused)


def text(name: str, content: str, *refused: str, file: str = "hosts.ini") -> Example:
    return Example(name, {file: content}, refused)


def beside(name: str, file: str, content: str, *refused: str) -> Example:
    return Example(name, {"hosts.ini": HEAD, file: content}, refused)


EXAMPLES = [
    # The groups and the hosts.
    text("plain", HEAD),
    text("plain-yaml", YAML, file="hosts.yml"),
    text("no-extension", HEAD, file="hosts"),
    text("seed's groups", "[hpc_controllers]\nhead\n[hpc_compute_nodes]\nn1\nn2\n"),
    text("both names of a group", "[controller]\nh\n[compute]\nc1\n[hpc_compute_nodes]\nc2\n"),
    text("underscores", "[controller]\nhead_1\n[compute]\ngpu_a100_[01:02]\n"),
    text("mixed case and dots", "[controller]\nLogin1.example.org\n[compute]\nGPU[1:2].example.org\nb1\nA1\n"),
    text("children", "[controller]\nh\n[compute:children]\ncpu\ngpu\n[cpu]\nc[1:2]\n[gpu]\ng1\nc2\n"),
    text("children of children", "[controller]\nh\n[compute:children]\na\n[a:children]\nb\n[b]\nc1\nc2\n"),
    text(
        "children in yaml",
        "controller: {hosts: {h: }}\ncompute: {children: {cpu: {hosts: {'c[1:2]': }}}}\n",
        file="h.yml",
    ),
    text("padded range", "[controller]\nh\n[compute]\nc[001:064]\n"),
    text("letters", "[controller]\nh\n[compute]\nrack-[a:c]1\n"),
    text("stride", "[controller]\nh\n[compute]\nc[0:6:2]\n"),
    text("controller as node", "[controller]\nhead\n[compute]\nhead\nc1\n"),
    text("two controllers", "[controller]\na\nb\n[compute]\nc1\n", "one host, not 2: a, b"),
    text(
        "other groups",
        "[kube_control_plane]\nh\n[workers]\nc1\n",
        "controller and hpc_controllers",
        "kube_control_plane",
    ),
    text(
        "a group of another name",
        "[controllers]\nh\n[compute_nodes]\nc1\n",
        "controller and hpc_controllers",
        "compute_nodes",
    ),
    text("no nodes", "[controller]\nh\n[compute]\n", "group compute"),
    # The role's variables, and where they can be said.
    ini("path", "container_registry_path=/srv/images"),
    ini("quotes", "container_registry_path=\"/srv/images\"\ncontainer_registry_group='hpc'"),
    ini("lists", 'container_registry_subdirs=["ml", "base"]'),
    ini("number", "container_registry_keep=3\ncontainer_registry_sync_window=8"),
    yaml("a number in quotes", "{container_registry_keep: '3'}"),
    ini("a rate", "container_registry_sync_limit_rate=100M"),
    ini("true and false", "container_registry_slurm_container=False\ncontainer_registry_sync_enabled=True"),
    ini("words for false", "container_registry_slurm_integration=no"),
    ini("a mode", "container_registry_dir_mode=0750"),
    ini("no variable of the role", "container_registry_url=https://r\ncontainer_registry_port=5000\nmy_path={{ x }}"),
    yaml(
        "mapping",
        "{container_registry_path: /srv/i, container_registry_directories: [a, b], container_registry_keep: 0}",
    ),
    yaml("an octal number", "{container_registry_file_mode: 0755}", "container_registry_file_mode", '"0755"'),
    yaml("a quoted mode", "{container_registry_file_mode: '0755'}"),
    yaml("unsafe text", "{container_registry_path: !unsafe /srv/i}"),
    yaml("unsafe braces", "{container_registry_path: !unsafe '/srv/{{ x }}'}", "container_registry_path"),
    yaml("nothing", "{container_registry_sync_network: }"),
    yaml("a date", "{container_registry_group: 2026-01-01}", "container_registry_group"),
    yaml("a list for a word", "{container_registry_path: [/srv]}", "container_registry_path"),
    yaml(
        "a signer",
        f"{{container_registry_signatures: warn, container_registry_signers: ['a {KEY}']}}",
    ),
    beside("group_vars", "group_vars/all.yml", "container_registry_path: /srv/images\ncontainer_registry_group: hpc\n"),
    beside("group_vars of a directory", "group_vars/all/registry.yml", "container_registry_path: /srv/images\n"),
    Example(
        "host_vars",
        {"hosts.ini": HEAD, "host_vars/head.yml": "ansible_host: 10.0.0.1\nansible_port: 2222\nansible_user: root\n"},
    ),
    beside(
        "a group's word over all's",
        "group_vars/compute.yml",
        "container_registry_path: /a\n",
        "container_registry_path: differs",
        "not set on",
    ),
    Example(
        "the same by two files",
        {
            "hosts.ini": HEAD,
            "group_vars/controller.yml": "container_registry_path: /srv/i\n",
            "host_vars/c001.yml": "container_registry_path: /srv/i\n",
            "group_vars/compute.yml": "container_registry_path: /srv/i\n",
        },
    ),
    Example(
        "a host apart",
        {
            "hosts.ini": f"{HEAD}[all:vars]\ncontainer_registry_path=/a\n",
            "host_vars/c002.yml": "container_registry_path: /b\n",
        },
        ("container_registry_path: differs", "c002", "c[001,003]"),
    ),
    Example(
        "an integer beside its text",
        {
            "hosts.ini": f"{HEAD}[all:vars]\ncontainer_registry_keep=1\n",
            "host_vars/c002.yml": "container_registry_keep: true\n",
        },
        ("container_registry_keep: differs",),
    ),
    ini("a template", "base=/srv\ncontainer_registry_path={{ base }}/images", "container_registry_path: is a template"),
    ini("a template in a list", 'container_registry_subdirs=["{{ x }}"]', "container_registry_subdirs: is a template"),
    ini("misspelt", "container_registry_pth=/srv/i", '"container_registry_path"'),
    ini("an odd value", "container_registry_path=srv/i", "container_registry_path", "must be absolute"),
    ini("an earlier and a later name", "container_registry_subdirs=['a']\ncontainer_registry_directories=['b']"),
    ini("a storage backend", "container_registry_storage_backend=beegfs"),
    ini("backend and path", "container_registry_storage_backend=nfs\ncontainer_registry_path=/nfs/c"),
    ini(
        "an unknown backend", "container_registry_storage_backend=tape", "container_registry_storage_backend", "beegfs"
    ),
    ini("nodes from Slurm", "container_registry_sync_nodes=slurm"),
    ini("nodes by name", "container_registry_nodes=['c003','c001','c002']"),
    ini("nodes as a node set", "container_registry_nodes='c[001-003]'"),
    ini(
        "other nodes", "container_registry_nodes=['c001','c009']", "container_registry_nodes differs", "c[002-003,009]"
    ),
    ini("another prefix", "containers_registry_path=/srv", "containers_registry_path", "container_registry_path"),
    ini("capitals", "CONTAINER_REGISTRY_PATH=/srv", "CONTAINER_REGISTRY_PATH", "container_registry_path"),
    ini("Packer's switch", "packer_build=true"),
    ini("places", "container_registry_authorized_keys=/etc/ssh/keys/root\ncontainer_registry_sync_log_group=wheel"),
    # Where and as whom.
    text(
        "a host's own", "[controller]\nhead ansible_host=10.0.0.1 ansible_port=2222 ansible_user=root\n[compute]\nc1\n"
    ),
    text(
        "aliases",
        "[controller]\nh ansible_ssh_host=10.0.0.1 ansible_ssh_port=2222 ansible_ssh_user=ops\n"
        "[compute]\nc1 ansible_user=ops\n",
    ),
    text("a port in the name", "[controller]\nhead:2222\n[compute]\nc1\n"),
    text(
        "aliases that differ",
        "[controller]\nh ansible_host=a ansible_ssh_host=b\n[compute]\nc1\n",
        "host h: ansible_ssh_host",
        "keep one",
    ),
    ini("all as ops", "ansible_user=ops\nansible_become=yes"),
    ini("ops without becoming root", "ansible_user=ops\nansible_become=no", "ansible_become"),
    ini("root does not become", "ansible_user=root\nansible_become=false\nansible_become_method=su"),
    ini("another method", "ansible_user=ops\nansible_become_method=su", "ansible_become_method"),
    ini("another target", "ansible_user=ops\nansible_become_user=registry", "ansible_become_user"),
    ini("another target for root", "ansible_become_user=registry", "ansible_become_user"),
    ini("sudo's flags", "ansible_user=ops\nansible_become_flags='-H -S -n'"),
    ini("sudo's other flags", "ansible_user=ops\nansible_become_flags='-i'", "ansible_become_flags"),
    ini("a password for sudo", "ansible_user=ops\nansible_become_password=hidden1", "ansible_become_password"),
    ini("a password", "ansible_ssh_pass=hidden1", "ansible_ssh_pass"),
    ini("another port for all", "ansible_port=2222", "hosts c[001-003]: ansible_port", "nodes:"),
    text(
        "another user for nodes",
        "[controller]\nh\n[compute]\nc1 ansible_user=ops\nc2 ansible_user=ops\n",
        "hosts c[1-2]: ansible_user",
    ),
    text(
        "a mapping that says less than the hosts do",
        "[controller]\nh\n[compute]\nc1 ansible_host=10.0.0.2 ansible_port=2200\n"
        "[all:vars]\ncontainer_registry_nodes={'c1': {'port': 2222}}\n",
        "host c1: ansible_host is not read",
    ),
    text(
        "a mapping that says as much",
        "[controller]\nh\n[compute]\nc1 ansible_port=2222\n"
        "[all:vars]\ncontainer_registry_nodes={'c1': {'port': 2222}}\n",
    ),
    text(
        "addresses of nodes",
        "[controller]\nh\n[compute]\nc1 ansible_host=10.0.0.2\nc2 ansible_host=c2\n",
        "host c1: ansible_host",
        "nodes:",
    ),
    text("a key for nodes", "[controller]\nh\n[compute]\nc1 ansible_ssh_private_key_file=/k\n", "host c1: key /k"),
    ini("ProxyJump", "ansible_ssh_common_args='-o ProxyJump=me@gate:2222'", jump="me@gate:2222"),
    ini("-J", "ansible_ssh_extra_args='-J gate'", jump="gate"),
    ini(
        "ProxyCommand of ssh",
        "ansible_ssh_common_args='-o ProxyCommand=\"ssh -q -W %h:%p -p 23 me@gate\"'",
        jump="me@gate:23",
    ),
    ini(
        "another ProxyCommand",
        "ansible_ssh_common_args='-o ProxyCommand=\"nc -X 5 %h %p\"'",
        "ProxyCommand",
        "ansible_ssh_common_args",
    ),
    ini("two jumps", "ansible_ssh_common_args='-J a,b'", "ProxyJump", "ansible_ssh_common_args"),
    ini("harmless words", "ansible_ssh_common_args='-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -C'"),
    ini(
        "other words",
        "ansible_ssh_extra_args='-o HostKeyAlias=x -b 10.0.0.1'",
        "HostKeyAlias",
        "-b",
        "ansible_ssh_extra_args",
    ),
    ini("words that do not end", "ansible_ssh_common_args='-o ProxyCommand=\"ssh'", "ansible_ssh_common_args"),
    ini("another ssh", "ansible_ssh_executable=/opt/ssh", "ansible_ssh_executable"),
    text(
        "nodes by the controller",
        "[controller]\nh ansible_host=10.0.0.1\n[compute]\nc1\n[compute:vars]\nansible_ssh_common_args='-J 10.0.0.1'\n",
    ),
    text(
        "nodes by another",
        "[controller]\nh\n[compute]\nc1\n[compute:vars]\nansible_ssh_common_args='-J gate'\n",
        "host c1: a jump",
        "nodes:",
    ),
    text("local", "[controller]\nh ansible_connection=local\n[compute]\nc1\n", "host h: ansible_connection=local"),
    text(
        "nodes by podman",
        "[controller]\nh\n[compute]\nc1 ansible_connection=containers.podman.podman\n",
        "host c1: ansible_connection",
    ),
    ini("ssh by its whole name", "ansible_connection=ansible.builtin.ssh"),
    text(
        "a template for an address",
        '[controller]\nh ansible_host="{{ ip }}"\n[compute]\nc1\n',
        "host h: ansible_host: is a template",
    ),
    yaml(
        "a vault for a user",
        '{ansible_user: !vault "$ANSIBLE_VAULT;1.1;AES256\\n61626364\\n"}',
        "ansible_user: is encrypted",
    ),
    yaml("a vault for something else", '{my_token: !vault "$ANSIBLE_VAULT;1.1;AES256\\n61626364\\n"}'),
    ini(
        "no matter here",
        "ansible_python_interpreter=/usr/bin/python3.9\nansible_pipelining=true\nansible_ssh_retries=3",
    ),
    # Directories.
    Example(
        "a directory",
        {
            "inventory/01-head": "[controller]\nhead\n",
            "inventory/nodes.yml": "compute: {hosts: {'c[1:2]': }}\n",
            "inventory/group_vars/all.yml": "container_registry_path: /srv/i\n",
            "inventory/README.md": "passed over\n",
        },
    ),
    Example(
        "two files of one group", {"inventory/a": "[controller]\nh\n[compute]\nc1\n", "inventory/b": "[compute]\nc2\n"}
    ),
    Example("an empty directory", {"inventory/README.md": "nothing else\n"}, ("no group controller",)),
]
