"""Deploy Apptainer images to a Slurm cluster, and prove that every node has the same one."""

__version__ = "0.1.0"
