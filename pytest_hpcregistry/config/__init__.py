"""The cluster file and Ansible inventories: file -> Cluster. Runs on the workstation; Python 3.11."""
