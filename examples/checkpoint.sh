#!/bin/sh
# A minute before its time is over the script is sent SIGUSR1, saves its work and is queued again (B: to the script alone).
#SBATCH --job-name=checkpoint
#SBATCH --output=%x.out
#SBATCH --open-mode=append
#SBATCH --time=10
#SBATCH --signal=B:USR1@60
#SBATCH --requeue
image=/opt/containers/ml-frameworks/python-base.sif

save() {
    echo "saved at step $step"
    echo "$step" > checkpoint
    scontrol requeue "$SLURM_JOB_ID"
    exit
}
trap save USR1

step=$(cat checkpoint 2>/dev/null || echo 0)
while [ "$step" -lt 20 ]; do
    # In the background, as a shell takes a signal only between two commands.
    srun --container="$image" python3 -c 'import time; time.sleep(0.5)' &
    wait $!
    step=$((step + 1))
done
echo "done after $step steps"
