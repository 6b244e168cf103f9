"""What is in a SIF: its files, its packages, its SBOM, and what two images differ in."""
