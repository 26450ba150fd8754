#!/bin/sh
# boot_systemd.sh FOLDER UNIT: boots this machine's systemd in a root of its own below FOLDER, for UNIT.
# To be run in namespaces of its own (mounts, processes, network, cgroups), in a cgroup of its own.
# FOLDER/files is laid over this machine's root, of which nothing is written, and whose /run, /tmp,
# /var and settings of systemd are not there.
set -eu
folder=$1 unit=$2
root=$folder/root
mkdir -p "$folder/layer" "$root"
mount -t tmpfs tmpfs "$folder/layer"
mkdir "$folder/layer/upper" "$folder/layer/work"
mount -t overlay overlay -o "lowerdir=/,upperdir=$folder/layer/upper,workdir=$folder/layer/work" "$root"
for each in run tmp var etc/systemd/system dev root home; do mount -t tmpfs tmpfs "$root/$each"; done
cp -a "$folder/files/." "$root/"
mkdir -p "$root/var/lib" "$root/var/cache" "$root/var/log" "$root/var/tmp"
for each in null zero full random urandom tty; do
  touch "$root/dev/$each"
  mount --bind "/dev/$each" "$root/dev/$each"
done
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t proc proc "$root/proc"
# Of the kernel's settings many are the machine's: nobody in there may write them.
mount --bind "$root/proc/sys" "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
ip link set lo up
cd "$root"
mkdir -p run/old
pivot_root . run/old
umount -l run/old
rmdir run/old
systemd-sysusers
if test -e usr/lib/tmpfiles.d/guestbook.conf; then systemd-tmpfiles --create guestbook.conf; fi
container=holdfast exec /lib/systemd/systemd --system "--unit=$unit" --log-target=journal --show-status=no
