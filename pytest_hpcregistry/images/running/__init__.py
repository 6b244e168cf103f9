"""A SIF run by Apptainer: a container of its own, and the checks that are run in one."""
