"""Asking and ordering a cluster, through its controller. Runs on the workstation; Python 3.11."""
