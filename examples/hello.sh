#!/bin/sh
# The whole script runs in the image.
#SBATCH --job-name=hello
#SBATCH --output=%x.out
#SBATCH --container=/opt/containers/ml-frameworks/python-base.sif
python3 -c 'import os, sys; print("Python", sys.version.split()[0], "from", os.environ["APPTAINER_CONTAINER"])'
