"""Making a SIF of Docker images and archives, and what is in one. Runs on the workstation; Python 3.11."""
