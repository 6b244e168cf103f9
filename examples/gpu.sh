#!/bin/sh
# A step that is given GPUs gets the node's driver into its image; which GPUs are its own is in CUDA_VISIBLE_DEVICES.
#SBATCH --job-name=gpu
#SBATCH --output=%x.out
#SBATCH --gres=gpu:2
srun --container=/opt/containers/ml-frameworks/python-base.sif \
    python3 -c 'import os; print("GPUs", os.environ["CUDA_VISIBLE_DEVICES"])'
