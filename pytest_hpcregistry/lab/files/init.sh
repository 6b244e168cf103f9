#!/bin/sh
# What a machine of the lab does when it starts, below tini. /lab holds what is this machine's own, read only.
set -eu
chmod 0666 /dev/fuse 2>/dev/null || :   # or an ordinary user gets "failed to open /dev/fuse: Permission denied"

# Apptainer as root asks for every capability; where the host withholds one it must not (apptainer.conf).
bounding=$(sed -n 's/^CapBnd:\s*//p' /proc/self/status)
every=$(((2 << $(cat /proc/sys/kernel/cap_last_cap)) - 1))
if [ $((0x$bounding)) != $every ]; then
    sed -i 's/^#\? *root default capabilities *=.*/root default capabilities = no/' /etc/apptainer/apptainer.conf
fi

install -d -m 0755 /run/sshd
install -d -m 0755 -o munge -g munge /run/munge
install -m 0400 -o munge -g munge /lab/munge.key /etc/munge/munge.key
install -m 0600 /lab/ssh_host_*_key /lab/ssh_host_*_key.pub /etc/ssh/
install -m 0644 /lab/sshd.conf /etc/ssh/sshd_config.d/00-site.conf
install -m 0644 /lab/ssh_known_hosts /etc/ssh/ssh_known_hosts
install -d -m 0700 /root/.ssh
[ -e /root/.ssh/authorized_keys ] || install -m 0600 /lab/authorized_keys /root/.ssh/authorized_keys
for key in /lab/id_*; do
    [ ! -e "$key" ] || install -m 0600 "$key" /root/.ssh/
done
install -m 0644 /lab/slurm.conf /lab/gres.conf /lab/cgroup.conf /etc/slurm/
install -d -m 0755 -o slurm -g slurm /var/lib/slurm /var/lib/slurm/slurmctld /var/lib/slurm/slurmd /var/log/slurm

# Slurm 24.11 ignores GPUs without a device file; these are as good as none but can be counted (1,3 is /dev/null).
for number in 0 1 2 3; do
    [ -e /dev/lab-gpu$number ] || mknod /dev/lab-gpu$number c 1 3
done

sh -eu /lab/site.sh   # what is particular to this site

runuser -u munge -- /usr/sbin/munged
/usr/sbin/sshd -E /var/log/sshd.log
case $(cat /lab/role) in
controller) runuser -u slurm -- /usr/sbin/slurmctld ;;
nodes) /usr/sbin/slurmd ;;
esac
exec sleep infinity
