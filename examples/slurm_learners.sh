#!/bin/bash
# One run on four machines of a SLURM cluster, a learner for each 16 cores. Submit it from the
# repository, on a file system that all machines see:
#
#     sbatch examples/slurm_learners.sh
#
# torchrun starts all learners anew, from the last checkpoint, when one is lost. Before the time
# limit SLURM sends SIGTERM; the run saves, and the job goes back into the queue.
#SBATCH --job-name=strata
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --output=strata-%j.log

run=runs/ML10-short-seed1-shared
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
saved() { cat "$run/checkpoints/latest" 2>/dev/null; }
before=$(saved)

srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node "${LEARNERS:-4}" --max-restarts 10 \
    --rdzv-backend c10d --rdzv-id "$SLURM_JOB_ID" --rdzv-endpoint "$first:29500" \
    -m -- train.rl2 --suite ML10 --trials 640 --run "$run" --resume-or-start ${STRATA_FLAGS:-}
code=$?
if [ $code -ne 0 ] && [ "$(saved)" != "$before" ]; then # it came further: go on
    scontrol requeue "$SLURM_JOB_ID"
    code=0
fi
exit $code
