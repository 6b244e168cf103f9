#!/bin/sh
# The script runs on the node, and its steps in the image: what Slurm's own commands are needed for stays outside.
#SBATCH --job-name=steps
#SBATCH --output=%x.out
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
image=/opt/containers/ml-frameworks/python-base.sif

echo "prepared on $(hostname)"
srun --container="$image" python3 -c 'import os; print("task", os.environ["SLURM_PROCID"], "of", os.environ["SLURM_NTASKS"])'
echo "steps ended with $?"
