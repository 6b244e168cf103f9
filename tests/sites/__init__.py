"""The same walk on every site of the lab: `make sites`."""
