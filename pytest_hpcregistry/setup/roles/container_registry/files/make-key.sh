# Make a key pair without a passphrase, of the first type that this machine's ssh may use: crypto policies forbid some.
# The key appears as a whole, its public half before it: a run that ends in between makes both anew.
#   make-key.sh FILE COMMENT
export LC_ALL=C
allowed=$(ssh -G localhost 2>/dev/null | sed -n 's/^pubkeyaccepted[a-z]* //p')
case ",$allowed," in
    ,, | *,ssh-ed25519,*) type=ed25519 ;;
    *,ecdsa-sha2-nistp256,*) type=ecdsa ;;
    *) type=rsa ;;
esac
umask 077
rm -f "$1.new" "$1.new.pub" && ssh-keygen -q -t "$type" -N '' -C "$2" -f "$1.new" && mv -f "$1.new.pub" "$1.pub" &&
    mv "$1.new" "$1"
