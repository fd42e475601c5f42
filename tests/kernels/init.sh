#!/bin/sh
# The first program of the guest: finds the machine's files by 9p, lays a writable layer over them, and runs what was asked.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
busybox mkdir -p /proc /sys /dev /below /above /root
busybox mount -t proc proc /proc
busybox mount -t devtmpfs dev /dev
for module in $(busybox cat /modules/order); do
	busybox insmod "/modules/$module" || echo "init: $module"
done
busybox mount -t 9p -o ro,trans=virtio,version=9p2000.L,cache=loose,msize=512000 machine /below || exec busybox poweroff -f
busybox mount -t tmpfs -o size=75% tmpfs /above
busybox mkdir -p /above/upper /above/work
busybox mount -t overlay -o lowerdir=/below,upperdir=/above/upper,workdir=/above/work overlay /root
folder=$(busybox sed -n 's/.*kernels\.folder=\([^ ]*\).*/\1/p' /proc/cmdline)

busybox mount -t proc proc /root/proc
busybox mount -t sysfs sys /root/sys
busybox mount -t devtmpfs dev /root/dev
busybox mkdir -p /root/dev/pts /root/dev/shm
for link in fd fd/0:stdin fd/1:stdout fd/2:stderr; do
	busybox ln -s "/proc/self/${link%%:*}" "/root/dev/${link##*:}"
done
busybox mount -t devpts devpts /root/dev/pts
busybox mount -t tmpfs -o mode=1777 tmpfs /root/dev/shm
busybox mount -t tmpfs -o mode=755 tmpfs /root/run
# As systemd does it on a node: version 2, alone.
busybox mount -t cgroup2 cgroup2 /root/sys/fs/cgroup
busybox mount -t bpf bpf /root/sys/fs/bpf
busybox mkdir -p /root/lib/modules
busybox mount -o bind "/root$folder/lib/modules" /root/lib/modules
busybox hostname guest
busybox ip link set lo up
busybox echo 1 >/proc/sys/kernel/panic_on_oops
busybox cp /run.sh /root/run/run.sh
busybox umount /proc
exec busybox switch_root /root /bin/sh /run/run.sh
