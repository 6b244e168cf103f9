#!/bin/sh
# Open MPI from inside the image, started by Slurm; the host needs Slurm's PMIx plugin and no MPI.
#SBATCH --job-name=mpi
#SBATCH --output=%x.out
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=2
srun --mpi=pmix --container=/opt/containers/ml-frameworks/mpi-base.sif python3 -c '
from mpi4py import MPI

total = MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank)
if MPI.COMM_WORLD.rank == 0:
    print("the ranks of", MPI.COMM_WORLD.size, "tasks add up to", total)
'
