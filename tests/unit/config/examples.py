"""Examples of what a cluster file may say and may not: for the parser, and for the JSON Schema."""

from __future__ import annotations

MINIMAL = "controller: {host: ctl}\n"

EVERY_VALUE = """
controller: {name: head, host: 10.0.0.1, port: 2222, user: ops, key: id, jump: "me@gate:23"}
nodes: ["c[1-2]", gpu01]
registry: {path: /srv/c, keep: 3, owner: alice, group: hpc, directory_mode: 2775, file_mode: "0644", directories: [a,b]}
sync: {method: star, window: 8, timeout: 60, connect_timeout: 3, key: /root/k, log: /var/log/x.log}
slurm: {container: no, conf_dir: /opt/slurm/etc, run_as: bob, partition: gpu}
runtime: {gpus: nv, binds: [/scratch, "/data/sets:/data:ro"], environment: [A=b c], options: [--no-home]}
scan: {command: [s, -v, -v, "{sbom}"], exit_codes: [0, 1], limit: low, timeout: 9,
  waivers: [{id: CVE-1, until: 2026-12-31, reason: not used}]}
ssh: {transport: paramiko, known_hosts: known, connect_timeout: 4}
"""

KEY_FROM = [
    ("auto", ("auto",)),
    ("any", ("any",)),
    ("[10.20.0.1, 10.30.0.0/16, '2001:DB8::/32']", ("10.20.0.1", "10.30.0.0/16", "2001:db8::/32")),
]

GOOD_NODES = [
    ("slurm", None),
    ("c[001-003]", ("c001", "c002", "c003")),
    ("c2,c1,10.0.0.[1-2]", ("c2", "c1", "10.0.0.1", "10.0.0.2")),
    ("c[1-4]!c[2-3]", ("c1", "c4")),
    ("[c9, 'c[1-2]', 192.168.1.1]", ("c9", "c1", "c2", "192.168.1.1")),
    ("{'c[1-2]': {port: 2222}, g1: }", ("c1", "c2", "g1")),
    ("{slurm: {port: 2222}, g1: {port: 22}}", None),
]

BAD_ROUTES = [
    ("{'c[1-': {}}", "is not a node set"),
    ("{c1: x}", ": nodes.c1: must be a mapping with keys such as address, port, jump"),
    ("{c1: [22]}", ": nodes.c1: must be a mapping"),
    ("{c1: {prot: 22}}", ': nodes.c1.prot: unknown key. Perhaps you meant "port"?'),
    ("{c1: {port: ssh}}", ": nodes.c1.port: 'ssh' is not a port, 1 to 65535"),
    ("{c1: {port: 0}}", ": nodes.c1.port: '0' is not a port"),
    ("{c1: {address: -oProxyCommand=x}}", ": nodes.c1.address: '-oProxyCommand=x'"),
    ("{c1: {address: '$(id)'}}", ": nodes.c1.address: '$(id)'"),
    ("{c1: {address: 'fd00::1%eth0'}}", ": nodes.c1.address: 'fd00::1%eth0'"),
    ("{c1: {address: 'fd00::[1-999999999]'}}", "more than 100000 nodes"),
    ("{c1: {jump: 'a b'}}", ": nodes.c1.jump: "),
    ("{c1: {jump: 'gate:x'}}", ": nodes.c1.jump: 'x' is not a port"),
    ("{'c[1-3]': {address: '10.0.0.[1-2]'}}", ": nodes.c[1-3].address: means 2, where c[1-3] means 3"),
    ("{'c[1-2]': {address: '10.0.0.1,10.0.0.1'}}", ": nodes.c[1-2].address: means 10.0.0.1 more than once"),
    ("{'c[1-2]': {address: '10.0.0.[01-02]'}}", "must not begin with 0"),
    ("{slurm: {address: 10.0.0.1}}", ": nodes.slurm.address: cannot be one for all that Slurm knows"),
]

BAD_NODES = [
    ("c1,c2,c1", "listed twice: c1"),
    ("{'slurm,c1': {port: 22}}", "slurm stands for every node that Slurm knows"),
    ("c1,SLURM", "slurm stands for every node that Slurm knows"),
    ("c[1-3],c2", "listed twice: c2"),
    ("[c1, controller]", "a node needs another name"),
    ("[c1, 'c[1-2]']", "listed twice: c1"),
    ("[]", "no node is listed"),
    ("[c1, '']", "an entry without a name"),
    ("''", "no node is listed"),
    ("c1!c1", "no node is listed"),
    ("c[1-", "is not a node set"),
    ("'c1,'", "a comma too many"),
    ("c[1-999999999]", "more than 100000 nodes"),
    ("c[1-9999]x[1-9999]", "more than 100000 nodes"),
    ("c[1-99],[1-9999999]", "more than 100000 nodes"),
    ("-oProxyCommand=x", "not a name for a node"),
    ("c1;id", "not a name for a node"),
    ("'$(id)'", "not a name for a node"),
    ("../c1", "not a name for a node"),
    ('"c1\\nc2"', "not a name for a node"),
    ("[slurm, c1]", "slurm stands alone"),
    ("{}", "no node is listed"),
    ("{'c[1-2]': {port: 22}, c2: {}}", "listed twice: c2"),
    ("{controller: {}}", "a node needs another name"),
    ("[[c1]]", "must be slurm, a node set"),
    ("'@all'", "must not use groups"),
    ("'*'", "must not use groups"),
    ("true", "not a name for a node"),
    ("[c1, null]", "not a name for a node"),
]

BAD_VALUES = [
    ("controller", "name", ["a b", "-x", "a;b", '"a\\nb"', "$(id)", "[a]", "''", "true", "null"]),
    ("controller", "host", ["-x", "null", "False", "~", "a b", "fe80::1%$(id)", "user@h", "h:22", "''", "{a: b}"]),
    ("controller", "port", ["0", "65536", "ssh", "-1", "0x16", "2.0", "[22]"]),
    ("controller", "user", ["-l", "a b", "a;b", "0", "''", "true", "NULL"]),
    ("controller", "jump", ["-x", "a@b@c", "h:0", "h:x", "'-u@h'", "'h;id'", "'a b'", "'[x]'"]),
    ("controller", "key", ["/no/such", "~nobody-has-this-name/k", "/", "'-i'"]),
    (
        "registry",
        "path",
        ["opt/c", "/", "/opt/../c", "/opt/c/", "//opt", "'/opt/a b'", "'/o;id'", "'/$HOME'", "''"],
    ),
    ("registry", "directory_mode", ["0855", "rwxr-xr-x", "55", "0o9", "0577", "077777", "-755", "''"]),
    ("registry", "file_mode", ["4755", "0355", "888"]),
    ("registry", "owner", ["-R", "'a b'", "root:slurm"]),
    ("registry", "directories", ["[]", "a", "[a, a]", "[../a]", "[.registry]", "[-x]", "[[a]]", "['a b']", "[true]"]),
    ("registry", "keep", ["-1", "many", "99999", "1.5"]),
    ("registry", "signatures", ["must", "[require]", "''"]),
    (
        "registry",
        "signers",
        [
            "alice",
            "[alice]",
            "[ssh-ed25519 AAAA]",
            f"['alice ssh-dss {'A' * 68}']",
            f"['alice,bob ssh-rsa {'A' * 68}']",
            f"['-a ssh-rsa {'A' * 68}']",
            f"['* ssh-rsa {'A' * 68}']",
            f"['alice cert-authority ssh-rsa {'A' * 68}']",
            f"['alice ssh-rsa {'A' * 68} x']",
            f"['alice ssh-rsa {'A' * 68}', 'alice ssh-rsa {'A' * 68}']",
        ],
    ),
    ("registry", "signing_key", ["/no/such"]),
    ("registry", "sbom", ["maybe", "[]"]),
    ("registry", "image_keys", ["id", "['-x']", "[[a]]"]),
    ("sync", "window", ["0", "-1", "many", "1e3", "9999999999"]),
    ("sync", "timeout", ["0", "10s"]),
    ("sync", "method", ["rsync", "''"]),
    ("sync", "key", ["id_rsa", "~/k"]),
    (
        "sync",
        "key_from",
        [
            "10.0.0.1",
            "everywhere",
            "[auto]",
            "['*']",
            "[10.0.0.1/8]",
            "[host]",
            "[]",
            "[fe80::1%eth0]",
            "''",
            "{a: b}",
        ],
    ),
    ("sync", "log", ["x.log", "/var/log/a'b"]),
    ("slurm", "container", ["maybe", "1"]),
    ("slurm", "conf_dir", ["etc"]),
    ("slurm", "run_as", ["'x y'", "False"]),
    ("slurm", "partition", ["-p", "'a;b'", "true"]),
    ("runtime", "gpus", ["nvidia", "[nv]", "''"]),
    (
        "runtime",
        "binds",
        ["/scratch", "[scratch]", "['/a b']", "[/a:b]", "['/a:/b:x']", "[/a, /a]", "['/a,/b']", "[[/a]]"],
    ),
    ("runtime", "environment", ["A=b", "[A]", "['=b']", "['1A=b']", "['A B=c']", '["A=b\\nc"]', "{A: b}"]),
    ("runtime", "options", ["--nv", "[-B]", "['--bind /a']", "[--]", '["--no-home=\\nc"]', "[exec]"]),
    ("scan", "command", ["trivy", '["a\\nb"]', "['{image}']", "['x={sbmo}']", "[[a]]", "{a: b}", "['']"]),
    ("scan", "exit_codes", ["[]", "0", "[256]", "[-1]", "[x]", "[1.5]"]),
    ("scan", "limit", ["severe", "''", "[low]"]),
    ("scan", "timeout", ["0", "1h"]),
    (
        "scan",
        "waivers",
        [
            "CVE-1",
            "[CVE-1]",
            "[{id: CVE-1}]",
            "[{id: CVE-1, until: 2026-12-31}]",
            "[{id: CVE-1, until: 2026-12-31, reason: ''}]",
            "[{id: CVE-1, until: 2026-12-31, reason: [a]}]",
            '[{id: CVE-1, until: 2026-12-31, reason: "a\\nb"}]',
            "[{id: CVE-1, until: 2026-02-30, reason: x}]",
            "[{id: CVE-1, until: 31.12.2026, reason: x}]",
            "[{id: CVE-1, until: 20261231, reason: x}]",
            "[{id: '-x', until: 2026-12-31, reason: x}]",
            "[{id: CVE-1, until: 2026-12-31, reason: x, by: me}]",
        ],
    ),
    ("ssh", "transport", ["telnet"]),
    ("ssh", "known_hosts", ["missing"]),
    ("ssh", "config", ["missing"]),
]

GOOD_VALUES = [
    ("controller", "host", ["10.0.0.1", "fe80::1", "head_01.example.org"]),
    ("controller", "jump", ["gate", "me@gate", "gate:22", "'me@[fe80::1]:22'", "", "~", "null"]),
    ("registry", "directory_mode", ["755", "0755", '"0755"', "0o755", "02775", "1777"]),
    ("slurm", "container", ["true", "True", "no", "off"]),
    ("slurm", "run_as", ["null", "Null", "NULL"]),
    ("sync", "key", ["/root/.ssh/id_rsa_registry_sync"]),
    ("runtime", "binds", ["[]", "[/scratch]", "['/data/sets:/data:ro']", "[/]"]),
    ("runtime", "environment", ["[]", "[A=]", "['LANG=C.UTF-8', 'B=a b=c']"]),
    ("runtime", "options", ["[]", "[--no-home, '--pwd=/work dir']"]),
    ("scan", "command", ["[]", "[trivy, '--f={{.x}}', '{sbom}', -q, -q]", "[pip-audit, '--path={root}/usr', 1]"]),
    ("scan", "exit_codes", ["[0]", "['1', 0]", "[255, 255]"]),
    (
        "scan",
        "waivers",
        ["[]", "[{id: GHSA-x:1, until: 2026-02-28, reason: 'a, b'}, {id: 1, until: 2000-01-01, reason: x}]"],
    ),
]


def file_with(section: str, key: str, value: str) -> str:
    """A cluster file in which a setting has this value, and that otherwise only names the controller."""
    if section != "controller":
        return f"{MINIMAL}{section}:\n  {key}: {value}\n"
    return f"controller:\n{'' if key == 'host' else '  host: ctl' + chr(10)}  {key}: {value}\n"
