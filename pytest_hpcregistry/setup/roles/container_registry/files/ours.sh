# Report what phase 1 has made on this machine: KIND PATH, a line each; KIND is slurm, file, last (what goes last), or keys
# (authorized_keys of LOGIN, who is not root).
# What lies under such a name and holds something else is somebody's own, and is not reported.
#
#   ours.sh LIBRARY REGISTRY OCI_CONF TREE CONTROLLER LAUNCHER LOGROTATE KEY COMMENT KNOWN_HOSTS LOG SUDOERS LOGIN
#
# TREE and CONTROLLER are empty or not: whether the registry itself is to go, and whether this is the controller.
# REGISTRY is empty on a machine that only reads it.
set -u
library=$1 registry=$2 oci_conf=$3 tree=$4 controller=$5
launcher=$6 logrotate=$7 key=$8 comment=$9
shift 9
known_hosts=$1 log=$2 sudoers=$3 login=$4

holds() { # KIND PATH TEXT
    if [ -f "$2" ] && [ ! -L "$2" ] && grep -qF -- "$3" "$2"; then echo "$1 $2"; fi
}

is_there() { # KIND PATH
    if [ -e "$2" ] && [ ! -L "$2" ]; then echo "$1 $2"; fi
}

holds file "$sudoers" "$library/agent.pyz serve"
home=$(getent passwd "$login" | cut -d : -f 6)
[ "$login" = root ] || [ ! "$home" ] || is_there keys "$home/.ssh/authorized_keys"
holds slurm "$oci_conf" "$library/container-run"
if [ "$controller" ]; then
    holds file "$launcher" "$library/controller"
    holds file "$logrotate" "$log {"
    is_there file "$known_hosts"
    if [ "$(holds file "$key.pub" " $comment")" ]; then
        is_there file "$key"
        is_there file "$key.pub"
    fi
fi
if [ "$tree" ] && [ "$controller" ]; then
    for one in "$log" "$log"[.-][0-9]*; do is_there file "$one"; done
fi
if [ "$registry" ]; then
    is_there file "$registry/.registry/peers"
    is_there file "$registry/.registry/allowed_signers"
    is_there last "$registry/.registry/config.yaml" # the history is written by it
fi
is_there last "$library"
if [ "$registry" ] && [ "$tree" ] && [ -d "$registry/.registry/objects" ]; then
    is_there last "$registry"
fi
exit 0
