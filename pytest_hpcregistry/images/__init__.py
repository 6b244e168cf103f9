"""Making a SIF, from Docker images, archives and definitions, and testing it. Runs on the workstation; Python 3.11."""
