"""Phase 3: images run through Slurm as users run them; images can be deployed, updated and synced."""
