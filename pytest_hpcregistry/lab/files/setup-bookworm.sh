#!/bin/sh
# mmdebstrap's customize hook for Debian 12, which has no Apptainer: sid's, with the C library that it was built for.
set -eu
root=$1 libc=/opt/apptainer-libc
cd "$root/tmp"
APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -q download apptainer/sid libc6/trixie
dpkg-deb -x apptainer_*.deb "$root"
dpkg-deb -x libc6_*.deb "$root$libc"
rm -f ./*.deb
chroot "$root" sh -euc '
    directory=$(echo '$libc'/usr/lib/*-linux-gnu)
    for program in /usr/bin/apptainer /usr/lib/*/apptainer/bin/starter; do
        patchelf --set-interpreter "$(echo $directory/ld-linux*.so.*)" --set-rpath "$directory" "$program"
    done
    apptainer --version
'
