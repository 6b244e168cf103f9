# What phase 1 must know of a machine, in one trip. Nothing is changed. Lines of the answer:
#   missing WHAT (HOW TO GET IT)    directory MODE OWNER GROUP PATH    key TYPE BASE64    slurm VERSION
#   look.sh OWNER GROUP PYTHON SLURM_PROGRAM HOST_KEYS DIRECTORY...
owner=$1 group=$2 python=$3 slurm=$4 host_keys=$5
shift 5

missing() {
    echo "missing $*"
}

[ "$(id -u)" = 0 ] || missing "root rights (log in as root, or become root: --become)"
getent passwd "$owner" >/dev/null || missing "the user $owner (or set container_registry_owner)"
getent group "$group" >/dev/null || missing "the group $group (or set container_registry_group)"
/usr/bin/python3 -c "import sys; sys.exit(sys.version_info < ($python))" 2>/dev/null ||
    missing "/usr/bin/python3 of at least $python (package python3)"
command -v rsync >/dev/null || missing "rsync (package rsync)"
command -v rrsync >/dev/null || missing "rrsync (package rsync, or rsync-rrsync on Fedora and Enterprise Linux)"
command -v ssh-keygen >/dev/null || missing "ssh-keygen (package openssh-client, or openssh)"

for path; do
    [ ! -d "$path" ] || [ -L "$path" ] || stat -c 'directory %04a %U %G %n' "$path"
done

if [ "$slurm" ]; then
    version=$("$slurm" -V 2>/dev/null) && echo "slurm ${version##* }" ||
        missing "$slurm (package $slurm, or set container_registry_slurm_integration to false)"
fi

if [ "$host_keys" ]; then
    found=
    for kind in ed25519 ecdsa rsa; do
        public=/etc/ssh/ssh_host_${kind}_key.pub
        [ ! -r "$public" ] || { found=yes && echo "key $(cut -d ' ' -f 1,2 "$public")"; }
    done
    [ "$found" ] || missing "a public host key in /etc/ssh (ssh-keygen -A makes them)"
fi
