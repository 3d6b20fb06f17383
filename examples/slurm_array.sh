#!/bin/bash
# Six runs on a SLURM cluster: two arms with three seeds each. Submit it from the repository:
#
#     sbatch examples/slurm_array.sh
#
# SLURM sends SIGTERM before the time limit. Strata then saves, ends with exit code 75, and the job
# goes back into the queue, where it continues bit for bit.
#SBATCH --job-name=strata
#SBATCH --array=0-5
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
#SBATCH --signal=TERM@300
#SBATCH --requeue
#SBATCH --output=strata-%A_%a.log

arms=(short none)
arm=${arms[$((SLURM_ARRAY_TASK_ID / 3))]}
seed=$((SLURM_ARRAY_TASK_ID % 3 + 1))
run=runs/ML10-$arm-seed$seed

srun python -m train.rl2 --resume-or-start --suite ML10 --arm "$arm" --seed "$seed" --run "$run" \
    ${STRATA_FLAGS:-}
code=$?
if [ $code -eq 75 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    code=0
fi
exit $code
