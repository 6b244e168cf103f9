# Whether bytes can go the way of an image: from staging/ to objects/, and by a hard link into each directory. The names
# begin with a dot, and hold the machine's own, as others may try in the same registry.
#   try-links.sh REGISTRY SUBDIRECTORY...
registry=$1
cd "$registry" || exit
shift
name=.try-$(uname -n)
trap 'rm -f ".registry/staging/$name" ".registry/objects/sha256/$name" "$tried"' EXIT
trap 'exit 1' HUP INT TERM
: >".registry/staging/$name" && mv ".registry/staging/$name" ".registry/objects/sha256/$name" || exit
for directory; do
    tried=$directory/$name
    ln -f ".registry/objects/sha256/$name" "$tried" && rm -f "$tried" || {
        echo "$registry: an image is a hard link to an object, and this file system ($(stat -f -c %T .)) makes none from" \
            ".registry/ into $directory: choose a path on one that does (registry.path)" >&2
        exit 1
    }
done
