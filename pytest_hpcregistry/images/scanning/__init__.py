"""A scanner's run on a SIF, and the verdict on what it reports."""
