"""Making a SIF, testing it, and what is in one. Runs on the workstation; Python 3.11."""
