"""What other autoscalers compute, as pure functions: formulas of their projects, one file each.

Every vector of ``tests/data/baseline-vectors.json`` holds against these (``tests/contract/baselines``). How they sit in
a cluster (what they scrape, how often, who writes the replicas) is in ``autoscaler/backtest/players``.
"""
