"""Making a SIF: from Docker images, archives and definition files. Runs on the workstation; Python 3.11."""
