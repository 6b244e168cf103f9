"""The suites: assertions over facts that were gathered once. Run them by `-m infrastructure`, `deployment` or `e2e`."""
