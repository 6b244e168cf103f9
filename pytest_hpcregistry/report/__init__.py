"""Edges out: lines and bars for a terminal, JUnit for CI. Runs on the workstation; Python 3.11."""
