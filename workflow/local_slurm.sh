#!/usr/bin/env bash
# A Slurm cluster of one node on this machine, to try a cluster's profile without one.
#
#   source <(workflow/local_slurm.sh start FOLDER)   # sets SLURM_CONF and PATH
#   workflow/local_slurm.sh stop FOLDER
#
# Needs Debian's slurm-wlm and munge; no service need run and nothing outside FOLDER is written.
# Everything runs as the user who calls, listens on ports SLURM_PORT and SLURM_PORT + 1 (default
# 16817) and keeps no accounts, so Snakemake needs: --slurm-status-command squeue
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

usage() { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
[ $# = 2 ] || usage
case $1 in
  start) mkdir -p "$2" ;;
  stop) [ -d "$2" ] || { echo "There is no folder $2: nothing to stop." >&2; exit 1; } ;;
  *) usage ;;
esac
folder=$(cd "$2" && pwd)
case $folder in
  *[\":$'\n']*) echo "Slurm cannot name $folder: take a folder without quotes and colons." >&2; exit 1 ;;
esac
export SLURM_CONF=$folder/slurm.conf

# A socket's path may have 107 bytes.
socket=/tmp/amint-munge-$(printf %s "$folder" | cksum | cut -d ' ' -f 1).socket

# Snakemake clears Slurm's variables before it calls srun inside a job: it would not find the cluster.
wrap_srun() {
  mkdir -p "$folder/bin"
  printf '#!/usr/bin/env bash\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
  chmod +x "$folder/bin/srun"
}

start() {
  for program in munged slurmctld slurmd sinfo; do
    command -v "$program" > /dev/null || {
      echo "There is no $program. Install Debian's packages slurm-wlm and munge." >&2
      exit 1
    }
  done
  if [ -n "$(running slurmd)$(running slurmctld)$(running munged)" ]; then
    echo "A cluster runs in $folder already. First: $0 stop '$folder'" >&2
    exit 1
  fi
  mkdir -p -m 700 "$folder"/{state,spool,log,munge}
  # Whatever fails from here on leaves nothing behind, and is a failure of `source <(...)` too.
  trap 'stop; echo false' EXIT
  describe
  wrap_srun
  (umask 077 && head -c 128 /dev/urandom > "$folder/munge/key")
  munged --force --num-threads=10 --key-file="$folder/munge/key" --socket="$socket" \
    --log-file="$folder/munge/log" --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed"
  slurmctld -c
  await '?'  # until it answers, slurmd would have no pid file to be ended by
  slurmd -c
  await idle
  trap - EXIT
  printf 'export SLURM_CONF=%q PATH=%q:$PATH\n' "$SLURM_CONF" "$folder/bin"
}

# Wait until the node's state matches, for a minute and as long as there is a controller.
await() {
  local deadline=$((SECONDS + 60))
  until [[ $(timeout 5 sinfo --noheader --format=%t 2> /dev/null) == *$1* ]]; do
    sleep 1
    if [ $SECONDS -ge $deadline ] || [ -z "$(running slurmctld)" ]; then
      echo "The node does not come up; see $folder/log." >&2
      exit 1
    fi
  done
}

describe() {
  local port=${SLURM_PORT:-16817} name user
  name=$(hostname -s) user=$(id -un)
  # Without what makes nproc count fewer.
  local cores=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc)
  local memory=$(($(getconf _PHYS_PAGES) * $(getconf PAGE_SIZE) / 1048576))
  cat > "$SLURM_CONF" << EOF
ClusterName=amint
SlurmctldHost=$name(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
AuthType=auth/munge
AuthInfo=socket=$socket
SlurmctldPort=$port
SlurmdPort=$((port + 1))
SlurmctldPidFile="$folder/slurmctld.pid"
SlurmdPidFile="$folder/slurmd.pid"
SlurmctldLogFile="$folder/log/slurmctld"
SlurmdLogFile="$folder/log/slurmd"
StateSaveLocation="$folder/state"
SlurmdSpoolDir="$folder/spool"
# No control groups: they would need root, and a machine that lets them be made.
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
# A job that has ended is remembered long enough for Snakemake to see it.
MinJobAge=600
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
NodeName=$name NodeAddr=127.0.0.1 CPUs=$cores RealMemory=$memory
PartitionName=local Nodes=$name Default=YES MaxTime=INFINITE State=UP
EOF
  # Slurm before 23.02 cannot leave them out altogether; version 1 makes none unless asked.
  local plugin=disabled
  [[ $(slurmd -V) =~ \ (1|20|21|22) ]] && plugin=cgroup/v1
  echo "CgroupPlugin=$plugin" > "$folder/cgroup.conf"
}

pid_file() { [ "$1" = munged ] && echo "$folder/munge/pid" || echo "$folder/$1.pid"; }

# Print a daemon's process, if it runs: its file may be left of one whose number another has now.
running() { pgrep --pidfile "$(pid_file "$1")" --exact "$1" 2> /dev/null || true; }

# Ask a daemon to end, and make it after ten seconds.
end() {
  local pid
  pid=$(running "$1")
  [ -n "$pid" ] || return 0
  kill "$pid" 2> /dev/null || return 0
  for _ in $(seq 100); do
    [ -n "$(running "$1")" ] || return 0
    sleep 0.1
  done
  kill -9 "$pid" 2> /dev/null || true
}

stop() {
  # Jobs go first, since without daemons nobody would end those that do not end themselves.
  if [ -n "$(running slurmctld)" ]; then
    timeout 20 scancel --user="$(id -un)" || true
    for _ in $(seq 60); do
      [ -n "$(timeout 20 squeue --noheader 2> /dev/null)" ] || break
      sleep 1
    done
  fi
  for daemon in slurmd slurmctld munged; do
    end "$daemon"
    rm -f "$(pid_file "$daemon")"
  done
  rm -f "$socket" "$socket.lock"
}

"$1"
