#!/bin/sh
# One task for each number; its results lie side by side.
#SBATCH --job-name=array
#SBATCH --output=%x-%a.out
#SBATCH --array=1-3
#SBATCH --container=/opt/containers/ml-frameworks/python-base.sif
python3 -c 'import os; number = int(os.environ["SLURM_ARRAY_TASK_ID"]); print(number, "squared is", number**2)'
