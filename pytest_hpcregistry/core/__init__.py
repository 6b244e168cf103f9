"""What workstation and controller agree on, and the values of both. Runs on both; Python 3.9."""
