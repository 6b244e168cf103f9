#!/bin/sh
# mmdebstrap's customize hook: $1 is the root directory. Accounts and sshd, and nothing of the registry: that is phase 1's.
set -eu
in_root() { chroot "$1" sh -eu -c "$2"; }

in_root "$1" '
    useradd --uid 2000 --create-home --home-dir /home/admin --shell /bin/bash admin
    useradd --uid 2001 --create-home --home-dir /home/alice --shell /bin/bash alice
    rm -rf /home/admin /home/alice /etc/ssh/ssh_host_* /etc/munge/munge.key
    echo "admin ALL=(ALL) NOPASSWD: ALL" > /etc/sudoers.d/admin
    chmod 0440 /etc/sudoers.d/admin
    mkdir -p /run/sshd /etc/slurm
    localedef -i tr_TR -f UTF-8 tr_TR.UTF-8
    echo user_allow_other >> /etc/fuse.conf
    rm -rf /var/cache/apt/* /var/lib/apt/lists/*
'
cat > "$1/etc/ssh/sshd_config.d/lab.conf" <<'CONF'
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PrintMotd no
UseDNS no
CONF
