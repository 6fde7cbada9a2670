# Runs Cilium's agent within a mount namespace of its own: `unshare -m sh agent.sh FOLDER PROGRAM ARGUMENT...`
# The agent insists on /proc/modules, which a kernel without modules lacks, and writes two settings
# of the whole machine, which here go to files instead.
set -eu
state=$1
shift
mkdir -p "$state/cgroup" "$state/proc"
echo 2 >"$state/unprivileged_bpf_disabled"
echo 1 >"$state/timer_migration"
mount --make-rprivate /
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 none "$state/cgroup"
mount -t proc proc "$state/proc"
mount --bind "$state/unprivileged_bpf_disabled" "$state/proc/sys/kernel/unprivileged_bpf_disabled"
mount --bind "$state/timer_migration" "$state/proc/sys/kernel/timer_migration"
mount -t tmpfs tmpfs /proc
for entry in "$state"/proc/*; do
  name=${entry##*/}
  case $name in [0-9]*) ;; *) ln -s "$entry" "/proc/$name" ;; esac
done
ln -s "$state/proc/$$" "/proc/$$"
[ -e "$state/proc/modules" ] || : >/proc/modules
exec "$@"
