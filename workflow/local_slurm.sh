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
mkdir -p "$2"
folder=$(cd "$2" && pwd)
export SLURM_CONF=$folder/slurm.conf

# A socket's path may have 107 bytes.
socket=/tmp/amint-munge-$(printf %s "$folder" | cksum | cut -d ' ' -f 1).socket

# Snakemake clears Slurm's variables before it calls srun inside a job: it would not find the cluster.
wrap_srun() {
  mkdir -p "$folder/bin"
  printf '#!/bin/sh\nSLURM_CONF=%q exec %q "$@"\n' "$SLURM_CONF" "$(command -v srun)" > "$folder/bin/srun"
  chmod +x "$folder/bin/srun"
}

start() {
  for program in munged slurmctld slurmd sinfo; do
    command -v "$program" > /dev/null || {
      echo "There is no $program. Install Debian's packages slurm-wlm and munge." >&2
      exit 1
    }
  done
  mkdir -p -m 700 "$folder"/{state,spool,log,munge}
  describe
  wrap_srun
  (umask 077 && head -c 128 /dev/urandom > "$folder/munge/key")
  munged --force --num-threads=10 --key-file="$folder/munge/key" --socket="$socket" \
    --log-file="$folder/munge/log" --pid-file="$folder/munge/pid" --seed-file="$folder/munge/seed"
  slurmctld -c
  slurmd -c
  for _ in $(seq 60); do
    if sinfo --noheader --format=%t 2> /dev/null | grep -q idle; then
      printf 'export SLURM_CONF=%q PATH=%q:$PATH\n' "$SLURM_CONF" "$folder/bin"
      return
    fi
    sleep 1
  done
  echo "The node does not come up; see $folder/log." >&2
  stop
  exit 1
}

describe() {
  local port=${SLURM_PORT:-16817} name user
  name=$(hostname -s) user=$(id -un)
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
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/log/slurmctld
SlurmdLogFile=$folder/log/slurmd
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
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
NodeName=$name NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$memory
PartitionName=local Nodes=$name Default=YES MaxTime=INFINITE State=UP
EOF
  # Slurm before 23.02 cannot leave them out altogether; version 1 makes none unless asked.
  local plugin=disabled
  [[ $(slurmd -V) =~ \ (1|20|21|22) ]] && plugin=cgroup/v1
  echo "CgroupPlugin=$plugin" > "$folder/cgroup.conf"
}

# Ask a process to end, and make it after ten seconds.
end() {
  kill "$1" 2> /dev/null || return 0
  for _ in $(seq 100); do
    kill -0 "$1" 2> /dev/null || return 0
    sleep 0.1
  done
  kill -9 "$1" 2> /dev/null || true
}

stop() {
  scancel --user="$(id -un)" 2> /dev/null || true
  for daemon in slurmd slurmctld munge/; do
    [ "$daemon" = munge/ ] && pid=$folder/munge/pid || pid=$folder/$daemon.pid
    if [ -s "$pid" ]; then
      end "$(cat "$pid")"
    fi
  done
}

case $1 in
  start) start ;;
  stop) stop ;;
  *) usage ;;
esac
