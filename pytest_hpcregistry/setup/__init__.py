"""Phase 1: the Ansible role and playbook, and how they are run. Runs on the workstation; Python 3.11."""
