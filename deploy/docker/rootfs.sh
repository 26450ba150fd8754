#!/bin/sh
# deploy/docker/rootfs.sh EXECUTABLE FOLDER: fills FOLDER with the root file system for a portable
# executable. Needs busybox-static and ca-certificates, and root, to change owners.
set -eu
executable=$1 root=$2
name=$(basename "$executable")
user=10001

mkdir -p "$root/bin" "$root/etc/ssl/certs" "$root/app" "$root/proc" "$root/dev" "$root/sys"
cp "$(command -v busybox)" "$root/bin/busybox"
# The programs that the executable's header calls, grep for the health check, and sleep for Kubernetes'
# preStop. Debian's busybox has no flock.
cp "$(command -v flock)" "$root/bin/flock"
for applet in sh cat chmod cmp env find grep gzip head id ln mkdir mv printf pwd rm sed sleep \
  sha256sum sort stat tail tar tr; do
  ln -sf busybox "$root/bin/$applet"
done

# The libraries of flock and of the deno program inside, where the loader looks for them. The program is
# unpacked for that, which also shows that it runs.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
HOLDFAST_CACHE=$unpacked/cache "$executable" --unpack --state "$unpacked" >/dev/null
ldd "$root/bin/flock" "$unpacked"/cache/deno-*/deno | grep -Eo '/lib[^ ]+' | sort -u | while read -r library; do
  mkdir -p "$root$(dirname "$library")"
  cp -L "$library" "$root$library"
done

cp "$executable" "$root/app/$name"
chmod 0755 "$root/app/$name"
printf '{ "listen": ["0.0.0.0:8000"] }\n' >"$root/app/$name.jsonc"
cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'holdfast:x:%s:%s::/state:/bin/sh\n' $user $user >"$root/etc/passwd"
printf 'holdfast:x:%s:\n' $user >"$root/etc/group"

mkdir -p -m 1777 "$root/tmp"
for folder in state cache; do
  mkdir -p -m 0700 "$root/$folder"
  chown $user:$user "$root/$folder"
done
