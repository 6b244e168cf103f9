"""How long it takes to bring an image to all nodes: measured on a rate-limited lab, and simulated beyond its size."""
