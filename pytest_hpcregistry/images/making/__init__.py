"""From a Dockerfile to a SIF: build, convert, and whether either has to be done again."""
