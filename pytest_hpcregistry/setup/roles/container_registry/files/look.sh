# What phase 1 must know of a machine, in one trip. Nothing is changed. Lines of the answer:
#   problem WHAT (HOW TO MEND IT)   todo ITEM   absent PATH   address IP   key TYPE BASE64   known LINE   peer LINE   slurm VERSION
#   look.sh OWNER GROUP FILE_MODE PYTHON SLURM_PROGRAM HOST_KEYS RELAY REGISTRY ITEM...
# An ITEM is one of these; a `todo` gives it back where there is something to do:
#   ours MODE OWNER GROUP PATH      a directory of the registry: made, and kept as it shall be
#   parent MODE OWNER GROUP PATH    a directory that a configured file lies in: made where it is missing, else left alone
#   file MODE OWNER GROUP PATH      a file of ours: owner and mode are kept as they shall be; `absent` where there is none
#   key PATH, root PATH, registry PATH, slurm PATH      who could put something else there is looked at, see guard
#   authorized PATH                 authorized_keys: made where it is missing, else its owner and mode are left alone
#   login USER                      who logs in to the node in place of root: a `home PATH`, and what is `absent` there
#   known PATH, peer PATH           is read
#   needs PROGRAM SETTING           a program that must be there while SETTING has a value
owner=$1 group=$2 file_mode=$3 python=$4 slurm=$5 host_keys=$6 relay=$7 registry=$8
shift 8
export LC_ALL=C

problem() {
    echo "problem $*"
}

missing() {
    problem "missing: $*"
}

[ "$(id -u)" = 0 ] || missing "root rights (log in as root, or become root: --become)"
getent passwd "$owner" >/dev/null || missing "the user $owner (or set container_registry_owner)"
getent group "$group" >/dev/null || missing "the group $group (or set container_registry_group)"
/usr/bin/python3 -c "import sys; sys.exit(sys.version_info < ($python))" 2>/dev/null ||
    missing "/usr/bin/python3 of at least $python (package python3)"
[ -x /usr/bin/rsync ] || missing "/usr/bin/rsync (package rsync)"
if [ "$relay" ]; then
    # It makes the certificate of each transfer.
    command -v openssl >/dev/null || missing "openssl (package openssl, or set container_registry_sync_method to star)"
fi
command -v ssh-keygen >/dev/null || missing "ssh-keygen (package openssh-client, or openssh)"

# ip(8) may be missing; `hostname -I` knows the same addresses.
addresses=$(ip -o addr show scope global 2>/dev/null | awk '{ sub("/.*", "", $4); print $4 }')
for address in ${addresses:-$(hostname -I 2>/dev/null)}; do
    echo "address $address"
done

# guard KIND PATH: whether somebody could put something else in the place of PATH, by what they may do with the
# directories above it, links followed. A group that may write is one too many, but for those that /usr/local and /var/log
# belong to on Debian and Ubuntu, where they are as good as root; for `key` also those, as for sshd. Below a directory with
# the sticky bit nobody can move what is root's.
guard() {
    place=${2%/*}
    until [ -e "${place:=/}" ] || [ -L "$place" ]; do place=${place%/*}; done
    [ -d "$place" ] || { problem "$place is no directory, and $2 shall lie there"; return; }
    for place in "$place" "$(readlink -f "$place")"; do
        while :; do
            case $seen in *"|$1 $place|"*) ;; *) seen="$seen|$1 $place|"; guard_one "$1" "$place" "$2" ;; esac
            [ "$place" != / ] || break
            place=${place%/*}
            place=${place:-/}
        done
    done
}

guard_one() {
    who=$(stat -L -c '%a %u %U %G' "$2")
    read -r mode uid user its_group <<END
$who
END
    case $1 in
        slurm) ;; # often belongs to the user slurm
        registry) [ "$uid" = 0 ] || [ "$user" = "$owner" ] || problem "$2 belongs to $user, who could replace $3" ;;
        *) [ "$uid" = 0 ] || problem "$2 belongs to $user, who could replace $3 (chown root $2, or choose another place)" ;;
    esac
    case $mode in
        [1357]???) [ "$1" = key ] || return 0 ;;
    esac
    case $mode in
        *[2367]) problem "everybody may write to $2, and so replace $3 (chmod o-w $2, or choose another place)" ;;
        *[2367]?)
            case $1/$its_group in key/*) ;; slurm/* | */root | */staff | */syslog) return ;; esac
            problem "the group $its_group may write to $2, and so replace $3 (chmod g-w $2, or choose another place)" ;;
    esac
}

# What the registry has lies on one file system: an image is a hard link to an object.
one_file_system() {
    [ "${device:=$(stat -L -c %d "$registry" 2>/dev/null)}" = "$(stat -L -c %d "$1")" ] ||
        problem "$1 lies on another file system than $registry: an image is a hard link, and none goes across"
}

# writable PATH: root may not write everywhere, as to a file system that others share, or one that is mounted read-only.
writable() {
    place=$1
    until [ -e "${place:=/}" ]; do place=${place%/*}; done
    case $seen in *"|write $place|"*) return ;; esac
    seen="$seen|write $place|"
    [ -w "$place" ] || problem "root may not write to $place, where $1 shall be (if it is a file system that all machines" \
        "share, set sync.method to shared: then the controller alone writes)"
}

seen=
for item; do
    read -r kind mode user its_group path <<END
$item
END
    [ "$path" ] || path=$mode
    case $kind in
        ours | parent)
            [ "$kind" = parent ] || writable "$path"
            if [ ! -e "$path" ] && [ ! -L "$path" ]; then
                echo "todo $item"
            elif [ ! -d "$path" ]; then
                problem "$path is no directory"
            elif [ "$kind" = ours ] && [ -L "$path" ] && [ "$path" != "$registry" ]; then
                problem "$path is a symbolic link, through which no image goes: only $registry itself may be one"
            elif [ "$kind" = ours ]; then
                one_file_system "$path"
                found=$(stat -L -c '%04a %U %G' "$path")
                if [ "$found" = "$mode $user $its_group" ]; then
                    continue
                elif [ -e "$registry/.registry/config.yaml" ] || [ "$path" != "${path#"$registry/.registry"}" ]; then
                    echo "todo $item"
                else
                    problem "$path was there before and is $found, not $mode $user $its_group (if it is for images" \
                        "only: chown $user:$its_group $path && chmod $mode $path; or choose another directory)"
                fi
            fi ;;
        file)
            if [ -L "$path" ]; then
                problem "$path is a symbolic link (name the file that it leads to)"
            elif [ ! -e "$path" ]; then
                echo "absent $path"
            elif [ ! -f "$path" ]; then
                problem "$path is not a regular file"
            elif [ "$(stat -c '%04a %U %G' "$path")" != "$mode $user $its_group" ]; then
                echo "todo $item"
            fi ;;
        authorized)
            if [ ! -e "$path" ]; then
                echo "todo $item"
            else
                # Such a file is ignored by sshd, or is anybody's way to root.
                [ "$(stat -L -c %u "$path")" = 0 ] || problem "$path is not root's (chown root $path)"
                case $(stat -L -c %a "$path") in
                    *[2367] | *[2367]?) problem "$path can be written by others than root (chmod go-w $path)" ;;
                esac
            fi ;;
        login)
            home=$(getent passwd "$mode" | cut -d : -f 6)
            [ "$home" ] || missing "the user $mode (user in nodes of the cluster file)"
            echo "home ${home:-/nonexistent}"
            for path in "$home/.ssh" "$home/.ssh/authorized_keys"; do [ -e "$path" ] || echo "absent $path"; done
            [ -x /usr/bin/sudo ] && command -v visudo >/dev/null || missing "/usr/bin/sudo and visudo (package sudo)" ;;
        needs) command -v "$mode" >/dev/null || missing "$mode (package $mode, or leave $user empty)" ;;
        known | peer) [ ! -f "$path" ] || sed "s/^/$kind /" "$path" ;;
        *) guard "$kind" "$path" ;;
    esac
done

# Objects are what people run: an image is another name of one. A list of those that are not as publishing makes them.
find "$registry/.registry/objects/sha256" -maxdepth 1 -type f ! -name '.*' \
    ! '(' -user "$owner" -group "$group" -perm "$file_mode" ')' \
    -printf "todo file $file_mode $owner $group %p\n" 2>/dev/null

if [ "$slurm" ]; then
    version=$("$slurm" -V 2>/dev/null) && echo "slurm ${version##* }" ||
        missing "$slurm (package $slurm, or set container_registry_slurm_container to false)"
fi

if [ "$host_keys" ]; then
    found=
    # sshd says where its keys are; one that cannot has them where they are everywhere else.
    keys=$("$(command -v sshd || echo /usr/sbin/sshd)" -T 2>/dev/null | sed -n 's/^hostkey //p')
    for private in ${keys:-/etc/ssh/ssh_host_ed25519_key /etc/ssh/ssh_host_ecdsa_key /etc/ssh/ssh_host_rsa_key}; do
        [ ! -r "$private.pub" ] || { found=yes && echo "key $(cut -d ' ' -f 1,2 "$private.pub")"; }
    done
    [ "$found" ] || missing "the public half of a host key (sshd -T | grep hostkey; ssh-keygen -A makes those in /etc/ssh)"
fi
exit 0
