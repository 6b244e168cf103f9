"""The controller program: what runs on the controller, started by an operator, by cron or by the workstation.

Phase 1 installs it as one archive (cluster/programs.py), with the modules of this package that it needs, PyYAML and
ClusterShell inside: Python >= 3.9, nothing to install, no package index.
"""
